"""The sections of the page: tables, remarks, frames, clips, protocol."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from starvsr.evaluation.comparison import PairedTest, paired_tests, tests_rows
from starvsr.evaluation.page.plots import distribution, line_plot
from starvsr.evaluation.record import ClipScore, Report
from starvsr.evaluation.shown_frames import ShownFrame
from starvsr.evaluation.tables import best_of, interval_text, protocol_lines

_NUM_CARDS = 9  # frames that are seen at once
_OPEN_CLIPS = 1  # clips whose plots are open at first


def remarks(report: Report) -> str:
    """Show what was remarked before scoring, and what is missing."""
    parts = []
    for kind, title, lines in (("warn", "Warnings", report.warnings()), ("missing", "Missing", report.absences())):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f'<aside class="{kind}"><h2>{title}</h2><ul>{items}</ul></aside>')
    return "".join(parts)


def means(report: Report, colors: dict[str, int]) -> str:
    """Show means and intervals: metrics within each data set as rows, methods as columns; the best ones bold."""
    parts = []
    for data_set in report.data_sets():
        methods = [method for method in report.methods() if report.of(method, data_set)]
        heads = "".join(f'<th scope="col"><i class="dot c{colors[m]}"></i>{escape(m)}</th>' for m in methods)
        rows = []
        for metric in report.metrics:
            summaries = [report.summary(method, metric.name, data_set) for method in methods]
            best = best_of(metric, summaries)
            cells = [
                f"<td{' class=best' if place in best else ''}>{metric.text(s.mean)}"
                f"<small>{interval_text(metric, s)}</small></td>"
                for place, s in enumerate(summaries)
            ]
            unit = f"<small>{escape(metric.unit)}</small>" if metric.unit else ""
            name = f'<th scope="row">{_breakable(metric.name)} {metric.direction}{unit}</th>'
            rows.append(f"<tr>{name}{''.join(cells)}</tr>")
        num_clips = len({score.clip for score in report.scores if score.data_set == data_set})
        corner = f"{escape(data_set)}<small>{count(num_clips, 'clip')}</small>"
        parts.append(_table(f'<tr><th scope="col">{corner}</th>{heads}</tr>', rows))
    note = "Means over frames, then clips; 95 % bootstrap intervals over clips in brackets."
    alone = "" if any(len(report.of(m)) > 1 for m in report.methods()) else " One clip has no interval."
    return f'<section id="scores"><h2>Scores</h2>{"".join(parts)}<p class="note">{note}{alone}</p></section>'


def tests(report: Report) -> str:
    """Show the paired tests of each two methods."""
    found = paired_tests(report)
    if not found:
        return ""
    rows = [
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{_verdict(test)}</td></tr>"
        for cells, test in zip(tests_rows(found)[1:], found, strict=True)
    ]
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in [*tests_rows(found)[0], "better"])
    note = (
        "Paired differences over clips with 95 % bootstrap intervals; p of a two-sided sign-flip test. With fewer than "
        "six clips it cannot fall below 0.05, whatever the difference."
    )
    table = _table(f"<tr>{head}</tr>", rows)
    return f'<section id="tests"><h2>Paired differences</h2>{table}<p class="note">{note}</p></section>'


def over_time(report: Report, colors: dict[str, int], *, has_player: bool) -> str:
    """Show each metric over the frames of each clip."""
    clips: dict[tuple[str, str], list[ClipScore]] = {}
    for score in report.scores:
        clips.setdefault((score.data_set, score.clip), []).append(score)
    parts = []
    for place, ((_, clip), scores) in enumerate(clips.items()):
        plots = "".join(line_plot(metric, scores, colors) for metric in report.metrics)
        if plots:
            is_open = " open" if place < _OPEN_CLIPS else ""
            frames = count(scores[0].num_frames, "frame")
            summary = f"<summary>{escape(clip)} <small>{frames}</small></summary>"
            parts.append(f'<details{is_open}>{summary}<div class="plots">{plots}</div></details>')
    if not parts:
        return ""
    hint = "<p class='note'>A click shows the frame in the player.</p>" if has_player else ""
    body = f"{_legend(report, colors)}{hint}{''.join(parts)}"
    return f'<section id="time"><h2>Over time</h2>{body}</section>'


def spreads(report: Report, colors: dict[str, int]) -> str:
    """Show how each metric is spread over frames."""
    plots = "".join(distribution(metric, report, colors) for metric in report.metrics)
    note = "Box: the middle half of all frames, with the median; line: from 5 to 95 %; ticks: means of clips."
    body = f'<div class="plots">{plots}</div><p class="note">{note}</p>'
    return f'<section id="spread"><h2>Distributions</h2>{body}</section>'


def frames(shown: Sequence[ShownFrame]) -> str:
    """Show the worst and the best frames."""
    drawn = [frame for frame in shown if frame.details]
    if not drawn:
        return ""
    cards, more = ("".join(map(_card, part)) for part in (drawn[:_NUM_CARDS], drawn[_NUM_CARDS:]))
    note = "Below each frame, single pixels from where the result differs most from what is beside it."
    head = f'<h2>Worst and best frames</h2><p class="note">{note}</p>'
    rest = f"<details><summary>{len(drawn) - _NUM_CARDS} more</summary><div class='cards'>{more}</div></details>"
    return f'<section id="frames">{head}<div class="cards">{cards}</div>{rest if more else ""}</section>'


def clips(report: Report, colors: dict[str, int]) -> str:
    """Show the means of each clip."""
    head = "".join(f'<th scope="col">{escape(m.name)} {m.direction}</th>' for m in report.metrics)
    rows = []
    for score in report.scores:
        cells = "".join(f"<td>{metric.text(score.value(metric.name))}</td>" for metric in report.metrics)
        dot = f'<i class="dot c{colors[score.method]}"></i>{escape(score.method)}'
        shift = score.alignment.get("shift_px")
        error = max(score.alignment.get("shift_error_px") or [0.0])
        moved = "-" if shift is None else ", ".join(f"{round(part, 1) + 0.0:+.1f}" for part in shift)  # no -0.0
        moved += f" (\N{PLUS-MINUS SIGN}{error:.1f})" if error >= 0.05 else ""
        name = f'<th scope="row">{escape(score.clip)}</th><td class="word">{dot}</td><td>{score.num_frames}</td>'
        rows.append(f"<tr>{name}<td>{moved}</td>{cells}</tr>")
    first = "".join(f'<th scope="col">{word}</th>' for word in ("clip", "method", "frames", "shift x, y (px)"))
    return f'<section id="clips"><h2>Clips</h2>{_table(f"<tr>{first}{head}</tr>", rows)}</section>'


def protocol(report: Report) -> str:
    """State the protocol, and the digests of what was scored."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in protocol_lines(report))
    files = "".join(
        f"<li>{escape(score.clip)}, {side if side != 'result' else escape(score.method)}: "
        f"{escape(str(record['name']))} <code>{escape(str(record['sha256'])[:16])}</code></li>"
        for score in report.scores
        for side, record in score.files.items()
        if side == "result" or score.method == report.methods()[0]
    )
    digests = f"<details><summary>Files, SHA-256 (first 16 digits)</summary><ul>{files}</ul></details>"
    return f'<section id="protocol"><h2>Protocol</h2><ul>{lines}</ul>{digests if files else ""}</section>'


def _card(shown: ShownFrame) -> str:
    details = "".join(
        f'<figure><img loading="lazy" alt="{escape(name)}, detail" src="{_data(jpeg)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, jpeg in shown.details
    )
    kind = "bad" if shown.is_bad else "good"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in shown.reasons)
    title = f"{escape(shown.clip)}, frame {shown.frame} <small>{escape(shown.method)}</small>"
    alt = f"frame {shown.frame} of {escape(shown.clip)}"
    whole = f'<img class="whole" loading="lazy" alt="{alt}" src="{_data(shown.whole)}">'
    pictures = f'{whole}<div class="details">{details}</div>'
    return (
        f'<article class="card {kind}" data-clip="{escape(shown.clip)}" data-method="{escape(shown.method)}"'
        f' data-frame="{shown.frame}"><h3>{title}</h3><ul>{reasons}</ul>{pictures}</article>'
    )


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _legend(report: Report, colors: dict[str, int]) -> str:
    names = "".join(f'<span><i class="dot c{colors[m]}"></i>{escape(m)}</span>' for m in report.methods())
    return f'<p class="legend">{names}</p>'


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _breakable(name: str) -> str:
    """Let a name of a metric go on in the next line behind its underscores."""
    return escape(name).replace("_", "_<wbr>")


def _verdict(test: PairedTest) -> str:
    return escape(test.better) if test.better is not None else "-"


def count(number: int, what: str) -> str:
    """Write a number of things, e.g. ``1 clip``, ``2 clips``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
