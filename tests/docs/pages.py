"""Reading the pages: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NEEDS = "# needs: "
"""First line of a block that the tests do not run: what it needs (a GPU, published weights, the package index)."""


@dataclass(frozen=True)
class Block:
    page: str
    kind: str
    text: str

    @property
    def needs(self) -> str | None:
        first = self.text.split("\n", 1)[0]
        return first.removeprefix(NEEDS) if first.startswith(NEEDS) else None

    @property
    def commands(self) -> list[str]:
        """Commands, lines that go on joined, comments left out."""
        joined = self.text.replace("\\\n", " ")
        lines = (re.sub(r"(^|\s)# .*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [Block(path.name, kind, content) for kind, content in _FENCE.findall(text)]
