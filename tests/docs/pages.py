"""Reading the pages: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)
_FENCE = re.compile(r"^(?:<!-- run by (\S+) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)
_USAGE = re.compile(r"\.\.\.|(?<![\w'\"])\[|<\w|\w\|\w")
NEEDS = "# needs: "
"""First line of a block that the tests do not run: what it needs (a GPU, published weights, the package index)."""


@dataclass(frozen=True)
class Block:
    page: str
    kind: str
    text: str
    run_by: str = ""
    """The test that runs it (PATH::NAME), out of a comment above the block; empty: tests/docs/test_pages.py."""

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

    @property
    def runnable(self) -> list[str]:
        """Commands that tests/docs/test_pages.py runs."""
        return [] if self.needs is not None or self.run_by else [one for one in self.commands if not is_usage(one)]


def is_usage(line: str) -> bool:
    """Whether a line is a form to be filled in: `...`, [may be left out], <stands for something>, one|other."""
    return _USAGE.search(line) is not None


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [Block(path.name, kind, content, test) for test, kind, content in _FENCE.findall(text)]


def blocks_run_by(test: str) -> list[Block]:
    """Return the blocks of all pages that name this test, which has to run them."""
    return [block for page in PAGES for block in blocks_of(page) if block.run_by == test]
