"""Pages of the site that are made from the repository: its top-level files, the examples, the table of all options.

A hook of MkDocs. Links of pages to files beside `docs` are turned into links to these pages, so that the same text
works in the repository and on the site; a link that leads nowhere fails the strict build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "src/starvsr/weights/star-small.md": "star-small.md",
    "recipes/weights/stablevsr-tiny/README.md": "stablevsr-tiny.md",
}
"""Files of the repository that are pages, by their path."""
ELSEWHERE = {"README.md": "index.md"}
"""Files of the repository that a page stands for."""
_PROGRAMS = (".py", ".vpy")
"""Endings of examples: Python, and scripts of VapourSynth."""
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_ADDRESS = re.compile(r"[a-z]+:", re.I)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in PAGES.items()}
    made["examples.md"] = examples_page()
    made["options.md"] = options_page()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files of the repository into links to pages."""
    source = next((path for path, name in PAGES.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    folder = PurePosixPath(source).parent
    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_with_links(markdown[at : fence.start()], folder), fence[0]]
        at = fence.end()
    return "".join([*parts, _with_links(markdown[at:], folder)])


def _with_links(text: str, folder: PurePosixPath) -> str:
    return _LINK.sub(lambda found: site_link(found[1], folder), text)


def site_link(link: str, folder: PurePosixPath) -> str:
    """Return a link as it is on the site.

    Args:
        link: As it is in a file of the repository.
        folder: That file's folder.
    """
    target, _, anchor = link.partition("#")
    if not target or _ADDRESS.match(target):
        return link
    path = _normal(folder / target)
    behind = f"#{anchor}" if anchor else ""
    if path in PAGES or path in ELSEWHERE:
        return {**PAGES, **ELSEWHERE}[path] + behind
    if path.startswith("docs/"):
        return path.removeprefix("docs/") + behind
    if path == "examples":
        return "examples.md"
    if path.startswith("examples/") and path.endswith(_PROGRAMS):
        return f"examples.md#{PurePosixPath(path).stem.replace('_', '-')}"
    return link


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def examples_page() -> str:
    """Make the page with the source of all examples."""
    lines = ["# Examples", "", "Short programs to start from, in the folder `examples` of the repository."]
    for path in sorted((ROOT / "examples").glob("*.*py")):
        text = path.read_text(encoding="utf-8").rstrip()
        title = path.stem.replace("_", "-")
        lines += ["", f"## {path.stem.replace('_', ' ').capitalize()} {{ #{title} }}", "", f"`examples/{path.name}`"]
        lines += ["", "```python", text, "```"]
    return "\n".join(lines) + "\n"


def options_page() -> str:
    """Make the page with all options, from the fields that flags and checks are made of."""
    from starvsr.families.options import option_infos

    groups: dict[str, list[str]] = {}
    for name, info in option_infos():
        groups.setdefault(info.group, []).append(_option_row(name, info))
    lines = [
        "# All options",
        "",
        "Each is a flag of `starvsr upscale` and a keyword of `starvsr.upscale`, `starvsr.prepare` and "
        "`UpscaleOptions`.",
        "Options of models are refused by those that do not honour them.",
    ]
    for group, rows in groups.items():
        lines += [
            "",
            f"## {group}",
            "",
            "| flag | keyword | value | default | meaning |",
            "|---|---|---|---|---|",
            *rows,
        ]
    return "\n".join(lines) + "\n"


def _option_row(name: str, info: Any) -> str:
    from starvsr.families.options import default_of
    from starvsr.options import flag_name

    default = default_of(name)
    value = " ".join([*(f"`{word}`" for word in info.choices), *_kinds(info)])
    shown = "" if default is None else f"`{default}`"
    models = ", ".join(_models_with(name))
    told = info.help.replace("|", "\\|") + (f" Models: {models}." if models else "")
    return f"| `{flag_name(name)}` | `{name}` | {value} | {shown} | {told} |"


def _kinds(info: Any) -> Iterator[str]:
    if info.kind == "text" and info.choices:
        return
    bounds = [str(bound) for bound in (info.minimum, info.maximum) if bound is not None]
    yield info.kind + (f", {info.unit}" if info.unit else "")
    if info.minimum is not None and info.maximum is not None:
        yield f"({bounds[0]} to {bounds[1]})"


def _models_with(name: str) -> list[str]:
    """Models that honour an option; none where every job has it."""
    import dataclasses

    from starvsr.families.options import model_options
    from starvsr.families.registry import MODELS

    if name not in {known for known, _ in model_options()}:
        return []
    entries = MODELS.values() if isinstance(MODELS, dict) else MODELS
    return [entry.name for entry in entries if name in {field.name for field in dataclasses.fields(entry.settings)}]
