"""The sections on results without ground truth: what was added, where, in which kinds of regions; borders; files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
_LINE_NOTE = "Step across a border of tiles, by that of the lines beside it, mean over frames; 1 is no seam."
_VISIBLE = 1.5


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
    return f'<h3>{escape(score.clip)} <small>{escape(score.method)}</small></h3><div class="maps">{maps}</div>{table}'


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
    steps = score.frames.get("seam_steps_lq", [])
    at_segments = [(index, steps[index]) for index in found["segments"] if index < len(steps)]
    parts = [f"<h3>{escape(score.clip)}</h3><p>{escape(found['plan'])}; scene cuts: {found['cuts']}.</p>"]
    parts.append(_ranked("first frame of a segment", [(f"frame {i}", value) for i, value in at_segments], _STEP_NOTE))
    lines = [(f"column {place}", ratio) for place, ratio in found["columns"]]
    lines += [(f"row {place}", ratio) for place, ratio in found["rows"]]
    parts.append(_ranked("border of tiles", lines, _LINE_NOTE))
    return "".join(parts)


def _ranked(what: str, found: Sequence[tuple[str, float]], note: str) -> str:
    """Show the worst ones, and how many stand out."""
    known = sorted(((name, value) for name, value in found if not math.isnan(value)), key=lambda one: -one[1])
    if not known:
        return f'<p class="note">No {what} to look at.</p>'
    visible = sum(value > _VISIBLE for _, value in known)
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{value:.2f}</td></tr>' for name, value in known[:6])
    told = f"{len(known)} in all, {visible} above {_VISIBLE}."
    table = f'<thead><tr><th scope="col">{what}</th><th scope="col">ratio</th></tr></thead><tbody>{rows}</tbody>'
    return f'<div class="wide"><table>{table}</table></div><p class="note">{told} {note}</p>'
