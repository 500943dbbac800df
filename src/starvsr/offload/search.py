"""Choose segment and plan for a budget, and the next smaller plan after an out-of-memory error. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from starvsr.offload.footprint import ClipSize, Footprint, predict
from starvsr.offload.memory_plan import PlanT, Prediction

COST = {"resident": 1.0, "offload": 1.01, "stream": 1.05}
"""Assumed time of a job with weights in that place, relative to resident ones."""
STEP_DOWN = 0.85
"""A smaller plan needs at most this share of the one that did not fit."""


@dataclass(frozen=True)
class Candidate(Generic[PlanT]):
    """A plan for segments of ``length`` kept frames, with its predicted memory.

    Args:
        length: Frames kept per segment.
        plan: The plan.
        prediction: What it is predicted to need.
        work: Estimated time relative to a clip in one piece with resident weights.
    """

    length: int
    plan: PlanT
    prediction: Prediction
    work: float


def candidates(
    footprint: Footprint[PlanT], clips: Iterable[tuple[int, ClipSize]], plans: Sequence[PlanT]
) -> Iterator[Candidate[PlanT]]:
    """Yield every combination of segment and plan with its prediction.

    Args:
        footprint: Of the model.
        clips: Kept frames and size of each segment to consider.
        plans: The plans to consider.
    """
    for length, clip in clips:
        for plan in plans:
            work = clip.num_frames / length * footprint.tile_work(clip, plan) * COST[plan.place]
            yield Candidate(length, plan, predict(footprint, clip, plan), work + footprint.extra_work(plan))


def choose(
    footprint: Footprint[PlanT], clips: Sequence[tuple[int, ClipSize]], plans: Sequence[PlanT], budget: int
) -> Candidate[PlanT] | None:
    """Return the least work that fits ``budget`` bytes; None when nothing does. See `candidates` for the others."""
    return best_of(each for each in candidates(footprint, clips, plans) if each.prediction.peak <= budget)


def best_of(fitting: Iterable[Candidate[PlanT]]) -> Candidate[PlanT] | None:
    """Return the least work, and of equal ones the least memory; None of nothing."""
    return min(fitting, key=_rank, default=None)


def smallest(
    footprint: Footprint[PlanT], clips: Sequence[tuple[int, ClipSize]], plans: Sequence[PlanT]
) -> Candidate[PlanT]:
    """Return what needs the least memory."""
    return min(candidates(footprint, clips, plans), key=lambda each: each.prediction.peak)


def next_smaller(
    footprint: Footprint[PlanT], clip: ClipSize, plan: PlanT, plans: Sequence[PlanT], phase: str
) -> PlanT | None:
    """Return the plan to continue with after a phase ran out of memory; None when there is no smaller one.

    Among the plans that need clearly less in that phase and no more in the others, the one with the least work.
    """
    before = predict(footprint, clip, plan)
    best = best_of(
        each
        for each in candidates(footprint, [(clip.num_frames, clip)], plans)
        if each.prediction.of(phase) <= STEP_DOWN * before.of(phase)
        and all(each.prediction.of(other) <= before.of(other) for other in before.weights)
    )
    return None if best is None else best.plan


def _rank(candidate: Candidate[PlanT]) -> tuple[float, int]:
    return round(candidate.work, 3), candidate.prediction.peak
