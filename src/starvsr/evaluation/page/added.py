"""The sections on results without ground truth: what was added, where, in which kinds of regions; borders; files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from starvsr.evaluation.page.maps import KIND_COLORS, added_map, kinds_map
from starvsr.evaluation.record import ClipScore, Report
from starvsr.evaluation.result_survey import ResultSurvey

_NOTE = (
    "Detail in frequencies that the input cannot hold, RMS of luma in levels of 255, mean over all frames. It was "
    "invented, rightly or wrongly: look there first. Regions are told by plain measures of the input and are a guide, "
    "not a recognition; soft is what has no sharp edge, out of focus for example."
)
_STEP_NOTE = (
    "How much the error against the input changes where a segment begins, by the median of the 8 frames before and "
    "after; 1 is no seam."
)
_LINE_NOTE = (
    "Step of the error across a border of tiles, by that of the lines beside it, mean over frames; 1 is no seam. One "
    "stands out above 1.5, and above 95 % of all lines of the frames: pictures have lines of their own."
)
VISIBLE = 1.5
"""Ratio from which on a border may stand out."""

_MOST_ROWS = 6


@dataclass(frozen=True)
class _Border:
    """A border, how much the result changes there, and from which ratio on that stands out."""

    name: str
    ratio: float
    limit: float

    @property
    def stands_out(self) -> bool:
        return self.ratio > self.limit


def added(report: Report, surveys: Mapping[tuple[str, str], ResultSurvey]) -> str:
    """Show maps and tables of each clip that was compared with its input alone."""
    parts = [_clip(score, surveys.get((score.method, score.clip))) for score in report.scores if score.survey]
    return (
        f'<section id="added"><h2>What was added, and where</h2><p class="note">{_NOTE}</p>{"".join(parts)}</section>'
        if parts
        else ""
    )


def borders(report: Report) -> str:
    """Show what borders of segments and tiles are like, where they are known."""
    parts = [_borders(score) for score in report.scores if score.survey.get("borders")]
    return f'<section id="borders"><h2>Borders of segments and tiles</h2>{"".join(parts)}</section>' if parts else ""


def links(paths: Mapping[str, str]) -> str:
    """Show links to files, by what they are: addresses relative to the page."""
    items = "".join(
        f'<li>{escape(name)}: <a href="{escape(quote(path), quote=True)}">{escape(path)}</a></li>'
        for name, path in paths.items()
    )
    return f'<section id="files"><h2>Files</h2><ul>{items}</ul></section>' if items else ""


def _clip(score: ClipScore, survey: ResultSurvey | None) -> str:
    found = score.survey
    picture = survey.picture if survey is not None else None
    largest = max(max(row) for row in found["added"])
    kinds: dict[str, Any] = found["kinds"]
    shares = {name: kind["map"] for name, kind in kinds.items()}
    behind = (
        f"; behind it frame {survey.picture_index}, which gained most"
        if survey is not None and picture is not None
        else ""
    )
    maps = (
        f'<figure><img alt="map of added detail" src="{added_map(found["added"], picture)}">'
        f"<figcaption>Added detail: dark 0, bright {largest:.1f} levels{behind}</figcaption></figure>"
        f'<figure><img alt="map of kinds of regions" src="{kinds_map(shares, picture)}">'
        f"<figcaption>{_legend(kinds)}</figcaption></figure>"
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{kind["share"]:.0%}</td><td>{_levels(kind["added"])}</td></tr>'
        for name, kind in kinds.items()
    )
    table = (
        '<div class="wide"><table><thead><tr><th scope="col">region of the input</th><th scope="col">share</th>'
        f'<th scope="col">added, levels</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    words = "".join(f"<li>{escape(line)}</li>" for line in _in_words(score))
    head = f"<h3>{escape(score.clip)} <small>{escape(score.method)}</small></h3><ul>{words}</ul>"
    return f'{head}<div class="maps">{maps}</div>{table}'


def _legend(kinds: Mapping[str, Any]) -> str:
    spans = (
        f'<span><i class="dot" style="color:rgb{KIND_COLORS[name]}"></i>{escape(name)}</span>'
        for name, kind in kinds.items()
        if kind["share"] > 0
    )
    return f'<span class="legend">{"".join(spans)}</span>'


def _levels(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _borders(score: ClipScore) -> str:
    found = score.survey["borders"]
    parts = [f"<h3>{escape(score.clip)}</h3><p>{escape(found['plan'])}; scene cuts: {found['cuts']}.</p>"]
    parts.append(_ranked("first frame of a segment", _segment_steps(score), _STEP_NOTE))
    parts.append(_ranked("border of tiles", _tile_lines(score), _LINE_NOTE))
    return "".join(parts)


def _segment_steps(score: ClipScore) -> list[_Border]:
    steps = score.frames.get("seam_steps_lq", [])
    found = [_Border(f"frame {i}", steps[i], VISIBLE) for i in score.survey["borders"]["segments"] if i < len(steps)]
    return [one for one in found if not math.isnan(one.ratio)]


def _tile_lines(score: ClipScore) -> list[_Border]:
    found = score.survey["borders"]
    most = [max(VISIBLE, value) for value in found["lines_95"]]
    return [
        _Border(f"{name} {place}", ratio, limit)
        for name, lines, limit in (("column", found["columns"], most[0]), ("row", found["rows"], most[1]))
        for place, ratio in lines
    ]


def _ranked(what: str, found: Sequence[_Border], note: str) -> str:
    """Show the worst ones, and how many stand out."""
    if not found:
        return f'<p class="note">No {what} to look at.</p>'
    worst = sorted(found, key=lambda one: -one.ratio)[:_MOST_ROWS]
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td>{one.ratio:.2f}</td>'
        f'<td class="word">{"stands out" if one.stands_out else "-"}</td></tr>'
        for one in worst
    )
    head = f'<tr><th scope="col">{what}</th><th scope="col">ratio</th><th scope="col"></th></tr>'
    table = f"<thead>{head}</thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table>{table}</table></div><p class="note">{_told(found)}. {note}</p>'


def _told(found: Sequence[_Border]) -> str:
    return f"{len(found)} in all, {sum(one.stands_out for one in found)} stand out"


def _in_words(score: ClipScore) -> list[str]:
    """Say what was found, a sentence each."""
    values = {name: score.value(name) for name in score.frames}
    lines = []
    if "consistency_lq_db" in values:
        lines.append(f"Reduced to the size of the input, it is {values['consistency_lq_db']:.1f} dB (PSNR) from it.")
    if "color_error_lq_de00" in values:
        lines.append(
            f"Its mean colour is {values['color_error_lq_de00']:.2f} from the input's (CIEDE2000; 1 is just seen)."
        )
    kinds = {name: kind for name, kind in score.survey["kinds"].items() if kind["added"] is not None}
    most = max(kinds, key=lambda name: float(kinds[name]["added"]))
    if "added_detail_lq" in values:
        added = f"It adds {values['added_detail_lq']:.1f} levels of detail"
        lines.append(f"{added}, most in {most} regions ({kinds[most]['added']:.1f}).")
    if "still_flicker_lq" in values:
        lines.append(
            f"Where the input stands still, it changes by {values['still_flicker_lq']:.1f} levels from frame to frame."
        )
    if score.survey.get("borders"):
        lines.append(f"Borders of segments: {_told(_segment_steps(score))}; of tiles: {_told(_tile_lines(score))}.")
    return lines
