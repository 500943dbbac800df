"""Keeps a published model within its room: places the weights, and goes on with less when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from starvsr.errors import ResourceError
from starvsr.families.star_i2vgen.footprint.forecast import ModelSizes
from starvsr.models.chunking import set_at_once, set_chunk
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.offload.memory_plan import Phase, Place, Room
from starvsr.offload.oom import free_bytes, give_back, is_out_of_memory
from starvsr.offload.search import Clip, choose, next_smaller, rooms_for, smallest
from starvsr.offload.weights import Placement

_LOG = logging.getLogger("starvsr")
FREE_SHARE = 0.95
"""Of the free memory, when the user names no budget."""
Result = TypeVar("Result")


class Keeper:
    """The memory of one loaded model.

    Args:
        network: The network; its weights lie in the host's memory or on the device already.
        codec: The autoencoder, likewise.
        sizes: What the prediction needs.
        device: Where they compute.
        places: Where weights may live.
    """

    def __init__(
        self,
        network: StarUNet,
        codec: TemporalVaeCodec,
        sizes: ModelSizes,
        device: torch.device,
        places: tuple[Place, ...],
    ) -> None:
        self.sizes, self.places, self.device = sizes, places, device
        self.room: Room | None = None
        self.notes: list[str] = []
        self.on_smaller: Callable[[Room], None] | None = None
        self._network, self._codec = network, codec
        self._placement: Placement | None = None

    def settle(self, room: Room) -> None:
        """Work by this plan from now on; weights move when they are needed next."""
        if room == self.room:
            return
        if self._placement is not None and self._placement.place != room.place:
            self._placement.end()
            self._placement = None
            give_back(self.device)
        self.room = room
        self._codec.tiles = room.coding_tiles
        set_at_once(self._network, room.at_once)
        set_chunk(self._network, room.chunk)

    def end(self) -> None:
        """Bring all weights back to the host, so that another keeper can take them over."""
        if self._placement is not None:
            self._placement.end()
            self._placement = None
            give_back(self.device)

    def free(self) -> int | None:
        """Return the bytes that a plan may count on: what is free and what this model has taken; None on a CPU."""
        free = free_bytes(self.device)
        if free is None or self._placement is None or self._placement.place != "resident":
            return None if free is None else int(FREE_SHARE * free)
        return int(FREE_SHARE * (free + self.sizes.network_bytes + self.sizes.vae_bytes))

    def settled(self, clip: Clip) -> Room:
        """Return the plan; without one, choose it for this clip by what is free."""
        if self.room is None:
            rooms = rooms_for(self.sizes, clip.height, clip.width, self.places)
            free = self.free()
            clips = [(clip.num_frames, clip)]
            choice = None if free is None else choose(self.sizes, clips, rooms, free)
            if choice is None:
                choice = smallest(self.sizes, clips, rooms) if free is not None else None
            self.settle(choice.room if choice else rooms[0])
        assert self.room is not None
        return self.room

    def attempt(self, phase: Phase, clip: Clip, work: Callable[[], Result]) -> Result:
        """Do a phase of a segment; when memory runs out, do it again with a smaller plan.

        Raises:
            ResourceError: there is no smaller plan.
        """
        for result in self.attempt_each(phase, clip, lambda: iter([work()])):
            return result
        raise AssertionError("not reached")

    def attempt_each(self, phase: Phase, clip: Clip, work: Callable[[], Iterator[Result]]) -> Iterator[Result]:
        """Yield what a phase makes one by one; after a smaller plan, go on behind what was yielded."""
        given = 0
        while True:
            try:
                with self._at_hand(phase, clip):
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

    def _at_hand(self, phase: Phase, clip: Clip) -> AbstractContextManager[None]:
        room = self.settled(clip)
        if self._placement is None:
            parts = self._network.modules_as_run()
            self._placement = Placement(self._network, self._codec.vae, parts, self.device, room.place)
        return self._placement.network() if phase == "sample" else self._placement.vae()

    def _step_down(self, phase: Phase, clip: Clip, reason: str) -> None:
        room = self.settled(clip)
        rooms = rooms_for(self.sizes, clip.height, clip.width, self.places, tile_overlap=room.tile_overlap)
        smaller = next_smaller(self.sizes, clip, room, rooms, phase)
        if smaller is None:
            raise ResourceError(
                f"out of memory ({reason}) and there is no smaller plan than {room.describe()}: give a smaller "
                "--segment, or a smaller input"
            )
        if self._placement is not None:
            self._placement.end()
            self._placement = None
        self.settle(smaller)
        give_back(self.device)
        note = f"out of memory ({reason}): goes on with {smaller.describe()}"
        self.notes.append(note)
        _LOG.warning("note: %s", note)
        if self.on_smaller is not None:
            self.on_smaller(smaller)
