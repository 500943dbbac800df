"""What a few frames tell of a pair: whether they show the same picture, shifts in space and time, lost levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from starvsr.errors import InputError
from starvsr.evaluation.alignment import (
    Luma,
    MeasuredShift,
    Shift,
    before_and_after,
    contrast_ratio,
    correlation,
    has_contrast,
    measure_shift,
    unexplained,
    unexplained_after,
)

WARN_PX = 0.15
"""Shift from which on a clip is remarked on."""

REFUSE_PX = 0.5
"""Shift from which on a clip is refused."""

_LATE_SHARE = 0.5  # of what is unexplained in place, for frames to count as those of another time
_LEAST_UNEXPLAINED = 5e-4  # in place, below which a shift in time does not matter (some 45 dB)
_ALL_BUT = 0.05  # share left unexplained by what explains a shift
_MOST = 0.8  # share of frames that must agree on that
_UNSURE_PX = 0.5  # uncertainty above which no shift is stated, unless it is larger than that
_UNTOLD_PX = 1.0  # uncertainty that is remarked on
_LEAST_CORRELATION = 0.5
_NEAR_CORRELATION = 0.97
_RANGE_RATIO = 255 / 219  # contrast of studio levels that are shown as full ones, or its inverse
_RANGE_TOLERANCE = 0.03


@dataclass
class Sample:
    """A frame of a result beside its reference.

    Attributes:
        hq: Luma of the result.
        gt: Luma of the reference's frame of the same number.
        at: What the reference's frame at a distance (-2..2, where there is one) leaves unexplained of the result; one
            that is a frame late is explained best at -1.
    """

    hq: Luma
    gt: Luma
    at: dict[int, float] = field(default_factory=dict)

    def try_frame(self, distance: int, gt: Luma) -> None:
        """Compare with a frame of the reference at a distance."""
        self.at[distance] = unexplained(self.hq, gt)

    @property
    def tells(self) -> bool:
        """Whether both have the contrast by which a shift can be told."""
        return has_contrast(self.hq) and has_contrast(self.gt)


@dataclass(frozen=True)
class Verdict:
    """What the frames tell.

    Attributes:
        shift: Of the result against the reference; None where it cannot be told.
        measured: The same with its uncertainty, also where that is too large for a statement; None without contrast.
        num_compared: Frames that it rests on.
        warnings: One sentence each.
    """

    shift: Shift | None = None
    measured: MeasuredShift | None = None
    num_compared: int = 0
    warnings: list[str] = field(default_factory=list)


def judge(name: str, samples: Sequence[Sample], *, allow_shift: bool = False) -> Verdict:
    """Judge a clip by some of its frames.

    Raises:
        InputError: the result is shifted in space by half a pixel or more, beyond doubt, or in time.
    """
    telling = [sample for sample in samples if sample.tells]
    if not telling:
        return Verdict(warnings=[f"{name}: no frame has enough contrast to tell whether the result is shifted"])
    alike = median(correlation(sample.hq, sample.gt) for sample in telling)
    if abs(alike) < _LEAST_CORRELATION:
        words = f"{name}: result and reference do not show the same picture (correlation {alike:.2f})"
        return Verdict(warnings=[f"{words}; check that they belong together"])
    measured = measure_shift([(sample.hq, sample.gt) for sample in telling])
    is_told = measured.error <= _UNSURE_PX or measured.is_at_least(WARN_PX)
    if measured.size >= REFUSE_PX and not _explains(measured, telling):
        is_told = False
    shift = measured if is_told else None
    warnings = _lost_range(name, telling) if alike > _NEAR_CORRELATION else []
    fault = _late(name, telling, shift)
    if not fault and shift is not None and shift.size >= REFUSE_PX and measured.is_at_least(WARN_PX):
        fault = f"{name}: the result is shifted by {in_words(shift)} against the reference"
    if fault and not allow_shift:
        raise InputError(f"{fault}: align them, or score it as it is with --allow-shift")
    if fault:
        warnings.append(f"{fault}; scored as it is, so scores count the shift as error")
    elif shift is not None and shift.size >= WARN_PX and measured.is_at_least(0.0):
        words = f"{name}: the result is shifted by {in_words(shift)} against the reference"
        warnings.append(f"{words}; metrics that compare pixels count it as error")
    elif measured.size >= REFUSE_PX or measured.error > _UNTOLD_PX:
        doubt = max(measured.error, 0.0 if is_told else measured.size)
        words = f"{name}: so little of the reference is in the result that shifts are told to {doubt:.1f} px only"
        warnings.append(f"{words} (measured: {in_words(measured)})")
    return Verdict(shift, measured, len(telling), warnings)


def in_words(shift: Shift) -> str:
    """Say a shift to 0.1 px."""
    parts = []
    if abs(shift.x) >= 0.05:
        parts.append(f"{abs(shift.x):.1f} px to the {'right' if shift.x > 0 else 'left'}")
    if abs(shift.y) >= 0.05:
        parts.append(f"{abs(shift.y):.1f} px {'down' if shift.y > 0 else 'up'}")
    return " and ".join(parts) or "less than 0.1 px"


def _explains(shift: Shift, samples: Sequence[Sample]) -> bool:
    """Whether a shift leaves less of the frames unexplained than their place does: a false peak does not."""
    both = [before_and_after(sample.hq, sample.gt, shift) for sample in samples]
    told = [each for each in both if each is not None]
    return not told or sum(after for _, after in told) < sum(before for before, _ in told)


def _late(name: str, samples: Sequence[Sample], shift: Shift | None) -> str:
    """Say that a result shows the frames of another time, if it does; else ""."""
    left = {k: _left_at(samples, k) for k in {k for sample in samples for k in sample.at if k}}
    known = {k: share for k, share in left.items() if share is not None}
    if not known:
        return ""
    best = min(known, key=lambda k: known[k])
    words = f"{name}: the result is {abs(best)} frame{'s' if abs(best) > 1 else ''} {'late' if best < 0 else 'early'}"
    if shift is None or shift.size < WARN_PX:
        return words
    here = sum(sample.at[0] for sample in samples)
    moved = sum(unexplained_after(sample.hq, sample.gt, shift) for sample in samples) / max(here, 1e-12)
    if moved < _LATE_SHARE * known[best]:
        return ""
    looks_same = moved < max(known[best] / _LATE_SHARE, _ALL_BUT)
    return f"{words} (or shifted by {in_words(shift)}, which looks the same in this clip)" if looks_same else words


def _left_at(samples: Sequence[Sample], distance: int) -> float | None:
    """Return the share of what is unexplained in place that frames at a distance leave; None if they fit no better."""
    both = [(sample.at[0], sample.at[distance]) for sample in samples if distance in sample.at]
    better = sum(there < here for here, there in both)
    here, there = (sum(side) for side in zip(*both, strict=True))
    if here < _LEAST_UNEXPLAINED * len(both):
        return None
    is_better = len(both) * 2 >= len(samples) and better >= _MOST * len(both) and there < _LATE_SHARE * here
    return there / here if is_better else None


def _lost_range(name: str, samples: Sequence[Sample]) -> list[str]:
    """Say that studio levels were taken for full ones, or the other way round, if it looks so."""
    ratio = median(contrast_ratio(sample.hq, sample.gt) for sample in samples)
    for likely, what in ((1 / _RANGE_RATIO, "lower"), (_RANGE_RATIO, "higher")):
        if abs(ratio / likely - 1) < _RANGE_TOLERANCE:
            words = f"{name}: the result's contrast is {abs(ratio - 1):.0%} {what} than the reference's"
            return [f"{words}, as when levels 16-235 and 0-255 are mistaken for each other; check their conversion"]
    return []
