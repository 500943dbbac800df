"""The report with its page: pictures of frames, previews, and the page that shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from starvsr.evaluation.page.document import PREVIEW_FOLDER, make_page
from starvsr.evaluation.previews import Preview, illustrate
from starvsr.evaluation.report_folder import report_folder, write_tables
from starvsr.evaluation.run import Evaluation
from starvsr.evaluation.shown_frames import choose_frames


def write_report(
    evaluation: Evaluation,
    folder: Path,
    *,
    previews: bool = True,
    title: str | None = None,
    links: Mapping[str, Path] | None = None,
    on_step: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a report into a folder: `report.json`, tables, `index.html`, and previews beside it.

    Args:
        evaluation: what was measured; reports that were read from files come without clips, and get no pictures.
        folder: a new folder, or a report that is replaced.
        previews: whether clips to play are written.
        title: of the page; None names the data sets.
        links: files that the page links to, by what they are.
        on_step: told what is done.

    Raises:
        OutputError: the system refuses.
    """
    with report_folder(folder) as made:
        write_tables(evaluation.report, made)
        shown = choose_frames(evaluation.report)
        found: dict[tuple[str, str], Preview] = {}
        if previews and evaluation.clips:
            (made / PREVIEW_FOLDER).mkdir()
        num_frames = {(score.method, score.clip): score.num_frames for score in evaluation.report.scores}
        for place, (key, trio) in enumerate(evaluation.clips.items()):
            method, clip = key
            frames = [frame for frame in shown if (frame.method, frame.clip) == key]
            if not frames and not previews:
                continue
            on_step(f"pictures of {clip} of {method} ({place + 1} of {len(evaluation.clips)})")
            target = made / PREVIEW_FOLDER if previews else None
            stem = f"{place:03d}-{_plain(method)}-{_plain(clip)}"
            preview = illustrate(trio, frames, target, stem, num_frames=num_frames[key])
            if preview is not None:
                found[key] = preview
        page = make_page(
            evaluation.report,
            shown,
            found,
            surveys=evaluation.surveys,
            title=title,
            links={name: os.path.relpath(path, folder) for name, path in (links or {}).items()},
        )
        (made / "index.html").write_text(page, encoding="utf-8")


def _plain(name: str) -> str:
    """Return a name in characters that need no escape in an address."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "clip"
