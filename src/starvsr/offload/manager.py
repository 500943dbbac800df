"""Applies a memory plan to a loaded model and retries with a smaller one after out-of-memory errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import torch

from starvsr.errors import ResourceError
from starvsr.offload.footprint import ClipSize, Footprint, PlanLimits, resident_bytes
from starvsr.offload.memory_plan import Place, PlanT
from starvsr.offload.oom import empty_cache, free_bytes, is_out_of_memory
from starvsr.offload.search import choose, next_smaller, smallest
from starvsr.offload.weights import Component, Placement

_LOG = logging.getLogger("starvsr")
FREE_SHARE = 0.95
"""Of the free memory, when the user names no budget."""
Result = TypeVar("Result")


class MemoryManager(Generic[PlanT]):
    """The memory of one job with a loaded model.

    Args:
        footprint: What the model needs.
        components: Its networks by the names that the footprint's phases use; in host memory or on the device.
        device: Where they compute.
        places: Where weights may live.
        apply: Sets what the family's own part of a plan says on the networks.
    """

    def __init__(
        self,
        footprint: Footprint[PlanT],
        components: Mapping[str, Component],
        device: torch.device,
        places: tuple[Place, ...],
        apply: Callable[[PlanT], None],
    ) -> None:
        self.footprint, self.places, self.device = footprint, places, device
        self.plan: PlanT | None = None
        self.notes: list[str] = []
        self.on_smaller_plan: Callable[[PlanT], None] | None = None
        self._components, self._apply = components, apply
        self._placement: Placement | None = None

    def apply_plan(self, plan: PlanT) -> None:
        """Use this plan from now on; weights move when they are needed next."""
        if plan == self.plan:
            return
        if self._placement is not None and self._placement.place != plan.place:
            self.end()
        self.plan = plan
        self._apply(plan)

    def end(self) -> None:
        """Return all weights to the host, so that another manager can take them over."""
        if self._placement is not None:
            self._placement.end()
            self._placement = None
            empty_cache(self.device)

    def free(self) -> int | None:
        """Return the bytes that a plan may use: free ones and those this model occupies; None on a CPU."""
        free = free_bytes(self.device)
        if free is None or self._placement is None or self._placement.place != "resident":
            return None if free is None else int(FREE_SHARE * free)
        return int(FREE_SHARE * (free + resident_bytes(self.footprint)))

    def plan_for(self, clip: ClipSize) -> PlanT:
        """Return the plan; if there is none yet, choose one for this clip from the free memory."""
        if self.plan is None:
            plans = self.footprint.candidates(clip, PlanLimits(self.places))
            free = self.free()
            chosen = None
            if free is not None:
                clips = [(clip.num_frames, clip)]
                chosen = choose(self.footprint, clips, plans, free) or smallest(self.footprint, clips, plans)
            self.apply_plan(chosen.plan if chosen else plans[0])
        assert self.plan is not None
        return self.plan

    def attempt(self, phase: str, clip: ClipSize, work: Callable[[], Result]) -> Result:
        """Run a phase of a segment; after an out-of-memory error, run it again with a smaller plan.

        Raises:
            ResourceError: There is no smaller plan.
        """
        for result in self.attempt_each(phase, clip, lambda: iter([work()])):
            return result
        raise AssertionError("not reached")

    def attempt_each(self, phase: str, clip: ClipSize, work: Callable[[], Iterator[Result]]) -> Iterator[Result]:
        """Yield the results of a phase one by one; after a smaller plan, continue after those already yielded."""
        given = 0
        while True:
            try:
                with self._weights_for(phase, clip):
                    for index, result in enumerate(work()):
                        if index < given:
                            continue
                        given += 1
                        yield result
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).split("\n", 1)[0][:120] or type(error).__name__
            self._step_down(phase, clip, reason)  # outside the handler, which holds all frames of the failure

    def _weights_for(self, phase: str, clip: ClipSize) -> AbstractContextManager[None]:
        plan = self.plan_for(clip)
        if self._placement is None:
            self._placement = Placement(self._components, self.device, plan.place)
        (uses,) = (each.uses for each in self.footprint.phases if each.name == phase)
        return self._placement.using(uses)

    def _step_down(self, phase: str, clip: ClipSize, reason: str) -> None:
        plan = self.plan_for(clip)
        plans = self.footprint.candidates(clip, PlanLimits(self.places, tile_overlap=plan.tile_overlap))
        smaller = next_smaller(self.footprint, clip, plan, plans, phase)
        if smaller is None:
            raise ResourceError(
                f"out of memory ({reason}) and there is no smaller plan than {plan.describe()}: give a smaller "
                "--segment, or a smaller input"
            )
        if self._placement is not None:
            self._placement.end()
            self._placement = None
        self.apply_plan(smaller)
        empty_cache(self.device)
        note = f"out of memory ({reason}): continues with {smaller.describe()}"
        self.notes.append(note)
        _LOG.warning("note: %s", note)
        if self.on_smaller_plan is not None:
            self.on_smaller_plan(smaller)
