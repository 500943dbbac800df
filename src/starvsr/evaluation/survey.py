"""A first pass over a clip, before it is scored: numbers of frames, times, and some frames beside their reference.

All frames are counted, a few are looked at; no more than a handful are held at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import Any

from starvsr.errors import InputError
from starvsr.evaluation.alignment import Luma, central_luma
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.pairing import ClipTrio
from starvsr.evaluation.verdicts import Sample, Verdict, judge
from starvsr.metrics.metric import ByteArray

_NUM_SAMPLES = 5
_REACH = 2  # frames that a result may be early or late


@dataclass
class Survey:
    """What the first pass found.

    Attributes:
        num_frames: Frames of the result.
        verdict: What some of its frames tell beside the reference's.
        times: Seconds of the result's frames after the first; None where they follow the frame rate.
        warnings: One sentence each, those of the verdict included.
    """

    num_frames: int
    verdict: Verdict = field(default_factory=Verdict)
    times: list[float] | None = None
    warnings: list[str] = field(default_factory=list)

    def alignment(self) -> dict[str, Any]:
        """Return what the report keeps of the shift."""
        shift, measured = self.verdict.shift, self.verdict.measured
        return {
            "shift_px": None if shift is None else [round(shift.x, 2), round(shift.y, 2)],
            "shift_error_px": None if measured is None else [round(measured.error_x, 2), round(measured.error_y, 2)],
            "frames_compared": self.verdict.num_compared,
        }


def survey(trio: ClipTrio, *, allow_shift: bool = False) -> Survey:
    """Decode a clip once and check it against its reference and input.

    Args:
        trio: the clip.
        allow_shift: only warn of shifts in space and time that would be refused.

    Raises:
        InputError: numbers of frames differ, or the result is shifted; also what reading raises.
    """
    if trio.gt is None:
        notes: list[str] = []
        times = [time for time, _ in trio.hq.timed_frames(notes.append)]
        found = Survey(len(times), times=_uneven(times, trio.hq), warnings=notes)
    else:
        found = _beside(trio.name, trio.hq, trio.gt, allow_shift)
    if trio.lq is not None:
        num_inputs = sum(1 for _ in trio.lq)
        if num_inputs != found.num_frames:
            raise InputError(_other_count(trio.name, found.num_frames, num_inputs, "input"))
    return found


def _beside(name: str, hq: ClipSource, gt: ClipSource, allow_shift: bool) -> Survey:
    """Read a result and its reference in step."""
    look = _Look(sample_indices(hq.info.estimated_frames or gt.info.estimated_frames))
    times: list[tuple[Fraction, Fraction]] = []
    count, other_count = 0, 0
    notes: list[str] = []
    for one, other in zip_longest(hq.timed_frames(notes.append), gt.timed_frames(notes.append)):
        count, other_count = count + (one is not None), other_count + (other is not None)
        if one is not None and other is not None:
            look.see(len(times), one[1], other[1])
            times.append((one[0], other[0]))
    if count != other_count:
        raise InputError(_other_count(name, count, other_count, "reference"))
    late = _late_times(name, times, gt) if hq.has_times and gt.has_times else []
    verdict = judge(name, look.samples, allow_shift=allow_shift)
    return Survey(count, verdict, _uneven([time for time, _ in times], hq), notes + late + verdict.warnings)


class _Look:
    """Keeps some frames of the result, and compares them with frames of the reference around them."""

    def __init__(self, wanted: set[int]) -> None:
        self._wanted = wanted
        self._recent: dict[int, Luma] = {}
        self._open: dict[int, Sample] = {}
        self.samples: list[Sample] = []

    def see(self, index: int, hq: ByteArray, gt: ByteArray) -> None:
        """Take the next frame."""
        if not any(abs(index - at) <= _REACH for at in self._wanted):
            return
        luma = central_luma(gt)
        self._open = {at: sample for at, sample in self._open.items() if at + _REACH >= index}
        for at, sample in self._open.items():
            sample.try_frame(index - at, luma)
        self._recent = {at: old for at, old in self._recent.items() if at + _REACH >= index} | {index: luma}
        if index in self._wanted:
            sample = self._open[index] = Sample(central_luma(hq), luma)
            for at, old in self._recent.items():
                sample.try_frame(at - index, old)
            self.samples.append(sample)


def sample_indices(num_frames: int | None) -> set[int]:
    """Choose the frames that are looked at: spread over the clip, where its length is known."""
    if num_frames is None:
        return {0} | {2 + 10 * k for k in range(_NUM_SAMPLES - 1)}
    if num_frames <= _NUM_SAMPLES:
        return set(range(num_frames))
    return {int((k + 0.5) * num_frames / _NUM_SAMPLES) for k in range(_NUM_SAMPLES)}


def _uneven(times: Sequence[Fraction], clip: ClipSource) -> list[float] | None:
    """Return the times of frames where they do not follow the frame rate."""
    period = 1 / clip.frame_rate
    if not clip.has_times or all(abs(time - k * period) < period / 2 for k, time in enumerate(times)):
        return None
    return [round(float(time), 6) for time in times]


def _late_times(name: str, times: Sequence[tuple[Fraction, Fraction]], gt: ClipSource) -> list[str]:
    """Say where frames of one number are shown at other times."""
    period = 1 / gt.frame_rate
    late = next((k for k, (one, other) in enumerate(times) if abs(one - other) > period / 2), None)
    if late is None:
        return []
    one, other = (float(time) for time in times[late])
    return [
        f"{name}: from frame {late} on, result and reference are shown at other times ({one:.3f} s and {other:.3f} s "
        "after their first frames); frames are compared by their number"
    ]


def _other_count(name: str, result: int, other: int, side: str) -> str:
    frames = f"{result} frame{'' if result == 1 else 's'}"
    advice = "frames were dropped or repeated; cut both to the same ones"
    return f"{name}: the result has {frames}, the {side} {other}: {advice}"
