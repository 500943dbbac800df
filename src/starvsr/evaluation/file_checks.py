"""What is refused or remarked before a frame is decoded: sizes, colours, the input's scale."""

from __future__ import annotations

from starvsr.errors import InputError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.pairing import ClipTrio
from starvsr.video.info import UNSPECIFIED, ColorTags

_PRIMARIES = {
    1: "BT.709",
    4: "BT.470M",
    5: "BT.601 (625 lines)",
    6: "BT.601 (525 lines)",
    9: "BT.2020",
    12: "Display P3",
}
_ALIKE = {5: 1, 6: 1, 7: 1}  # primaries so near to BT.709 that files are mixed without harm
_CURVES = {16: "HDR (PQ)", 18: "HDR (HLG)"}


def check_files(trio: ClipTrio) -> list[str]:
    """Compare what the files of a clip say of themselves.

    Returns:
        Warnings, one sentence each: a score still means something, but what is told must be known.

    Raises:
        InputError: the clip cannot be scored; one sentence says why and what to do.
    """
    warnings = []
    if trio.gt is not None:
        _refuse_other_size(trio.name, trio.hq, trio.gt)
        warnings += _compare_colors(trio.name, trio.hq, trio.gt, "reference")
    if trio.lq is not None:
        _refuse_other_scale(trio.name, trio.hq, trio.lq)
        warnings += _compare_colors(trio.name, trio.hq, trio.lq, "input")
    if trio.hq.info.color.is_hdr:
        warnings.append(f"{trio.name}: {_curve(trio.hq)}: metrics see code values, so scores compare with HDR alone")
    clips = [clip for clip in (trio.hq, trio.gt, trio.lq) if clip is not None]
    warnings += [
        f"{clip.path.name}: its transparency is left out of all metrics" for clip in clips if clip.info.has_alpha
    ]
    return warnings + [note for clip in clips for note in clip.info.notes]


def _refuse_other_size(name: str, hq: ClipSource, gt: ClipSource) -> None:
    a, b = hq.info, gt.info
    if (a.width, a.height) == (b.width, b.height):
        return
    scale = b.width / a.width
    turned = (a.width, a.height) == (b.height, b.width)
    advice = "turn one of them" if turned else "upscale to the reference's size, or crop both to what they share"
    if scale == b.height / a.height and scale in (2, 3, 4, 8):
        advice = f"it is {scale:.0f} times smaller, so it may be the low-quality input instead of a result"
    raise InputError(f"{name}: the result is {a.width}x{a.height}, the reference {b.width}x{b.height}: {advice}")


def _refuse_other_scale(name: str, hq: ClipSource, lq: ClipSource) -> None:
    """Refuse an input of another shape than the result; sides may be rounded to whole and even numbers."""
    a, b = hq.info, lq.info
    across, down = a.width / b.width, a.height / b.height
    if abs(across - down) <= 1 / b.width + 1 / b.height:
        return
    raise InputError(
        f"{name}: the result is {a.width}x{a.height}, and the input has another shape ({b.width}x{b.height}): give the "
        "input that it was made from, or leave out --lq"
    )


def _compare_colors(name: str, hq: ClipSource, other: ClipSource, side: str) -> list[str]:
    a, b = hq.info.color, other.info.color
    if (_CURVES.get(a.transfer) or "SDR") != (_CURVES.get(b.transfer) or "SDR"):
        raise InputError(
            f"{name}: the result is {_curve(hq)}, the {side} {_curve(other)}: their numbers mean different light; "
            "convert one of them first"
        )
    if _primaries(a) != _primaries(b) and UNSPECIFIED not in (a.primaries, b.primaries):
        names = [_PRIMARIES.get(tags.primaries, f"code {tags.primaries}") for tags in (a, b)]
        return [f"{name}: the result's primaries are {names[0]}, the {side}'s {names[1]}: scores count that as error"]
    return []


def _primaries(color: ColorTags) -> int:
    return _ALIKE.get(color.primaries, color.primaries)


def _curve(clip: ClipSource) -> str:
    return _CURVES.get(clip.info.color.transfer, "SDR")
