"""The whole page: sections, style, script and the data of the player in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from starvsr.evaluation import player
from starvsr.evaluation.page import added, sections
from starvsr.evaluation.previews import Preview
from starvsr.evaluation.record import Report, number
from starvsr.evaluation.result_survey import ResultSurvey
from starvsr.evaluation.shown_frames import ShownFrame

PREVIEW_FOLDER = "previews"
_NUM_COLORS = 6
_POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def make_page(
    report: Report,
    shown: Sequence[ShownFrame] = (),
    previews: Mapping[tuple[str, str], Preview] | None = None,
    *,
    surveys: Mapping[tuple[str, str], ResultSurvey] | None = None,
    title: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """Write the page.

    Args:
        report: what was measured.
        shown: frames with their pictures.
        previews: by (method, clip); their files lie in ``previews/`` beside the page.
        surveys: of results without a reference, by (method, clip), for the pictures behind maps.
        title: None names the data sets.
        links: files beside the page by what they are, with paths relative to it.
    """
    colors = {method: place % _NUM_COLORS for place, method in enumerate(report.methods())}
    title = title or "Evaluation: " + ", ".join(report.data_sets())
    num_clips = len({(score.data_set, score.clip) for score in report.scores})
    counted = f"{sections.count(num_clips, 'clip')}, {', '.join(report.methods())}"
    body = "".join(
        [
            f"<header><h1>{escape(title)}</h1><p>{escape(counted)}</p></header>",
            sections.remarks(report),
            sections.means(report, colors),
            sections.tests(report),
            added.added(report, surveys or {}),
            added.borders(report),
            _player(report, previews or {}),
            sections.over_time(report, colors, has_player=bool(previews)),
            sections.frames(shown),
            sections.spreads(report, colors),
            sections.clips(report, colors),
            added.links(links or {}),
            sections.protocol(report),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_resource('style.css')}\n{player.style()}</style></head>"
        f"<body><main>{body}</main><script>{player.script()}\n{_resource('report.js')}</script></body></html>\n"
    )


def _player(report: Report, previews: Mapping[tuple[str, str], Preview]) -> str:
    entries = [
        _entry(previews[score.method, score.clip], score.method, score.clip, score.frames)
        for score in report.scores
        if (score.method, score.clip) in previews
    ]
    if not entries:
        return ""
    digits = {metric.name: metric.digits for metric in report.metrics}
    data = json.dumps({"clips": entries, "digits": digits}, ensure_ascii=True).replace("<", "\\u003c")
    return f'{_resource("player.html")}<script type="application/json" id="clips-data">{data}</script>'


def _entry(preview: Preview, method: str, clip: str, frames: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {
        "clip": clip,
        "method": method,
        "src": f"{PREVIEW_FOLDER}/{preview.file}",
        "width": preview.width,
        "height": preview.height,
        "across": preview.across,
        "other": preview.other,
        "rate": float(preview.frame_rate),
        "frames": preview.num_frames,
        "values": {name: [_short(value) for value in values[: preview.num_frames]] for name, values in frames.items()},
    }


def _short(value: float) -> float | str | None:
    kept = number(value)
    return float(f"{kept:.5g}") if isinstance(kept, float) else kept


def _resource(name: str) -> str:
    return files("starvsr.evaluation.page").joinpath(name).read_text(encoding="utf-8").strip()
