"""When memory runs out: which plan comes next, what is done again, what is said. Errors are raised on purpose."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from starvsr.errors import ResourceError
from starvsr.families.star_i2vgen.footprint.forecast import MB, forecast
from starvsr.families.star_i2vgen.pipeline import PublishedStar
from starvsr.offload import manager as keeper_module
from starvsr.offload import search as choose_module
from starvsr.offload.memory_plan import PLACES, Phase, Room
from starvsr.offload.oom import is_out_of_memory
from starvsr.offload.search import Clip, choose, next_smaller, rooms_for, smallest
from tests.support.tiny_star import clip, tiny


@pytest.fixture(autouse=True)
def _short_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiles as short as the clips here."""
    monkeypatch.setattr(choose_module, "SHORTEST_TILE", 8)
    rooms_for.cache_clear()
    yield
    rooms_for.cache_clear()


class Failing:
    """Stands before a function and runs out of memory at chosen calls."""

    def __init__(self, function: Any, at: set[int], error: Exception | None = None) -> None:
        self.function, self.at, self.calls = function, at, 0
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls in self.at:
            raise self.error
        return self.function(*args, **named)


def _as_if_on_a_device(star: PublishedStar) -> None:
    """Let a CPU be planned for as a CUDA device is: weights may be offloaded and streamed."""
    star.memory.sizes = dataclasses.replace(star.memory.sizes, device="cuda")


def test_sampling_begins_again_with_less(caplog: pytest.LogCaptureFixture) -> None:
    star = tiny()
    _as_if_on_a_device(star)
    star.memory.settle(Room())
    plain = star.upscale_clip(clip(1, 8, 8), seed=1, num_steps=2)
    rooms: list[Room] = []
    star.memory.on_smaller = rooms.append
    failing = Failing(star.network.forward, {3})
    star.network.forward = failing  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        again = star.upscale_clip(clip(1, 8, 8), seed=1, num_steps=2)
    assert [star.memory.room] == rooms and rooms[0].place == "stream" and rooms[0].tiles == (1, 1)
    assert torch.equal(again, plain)  # the place changes no result
    assert failing.calls == 3 + 4
    assert "out of memory (CUDA out of memory" in caplog.text and "streamed from the host" in caplog.text
    assert star.notes == star.memory.notes and len(star.notes) == 1


def test_it_steps_down_as_often_as_it_must() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    star.memory.settle(Room(tile_overlap=4))
    rooms: list[Room] = []
    star.memory.on_smaller = rooms.append
    star.network.forward = Failing(star.network.forward, {1, 2, 3})  # type: ignore[method-assign]
    hq = star.upscale_clip(clip(2, 40, 48), num_steps=1)
    assert hq.isfinite().all()
    assert len(rooms) == 3 and len(set(rooms)) == 3
    needs = [_peak(star, room, "sample") for room in [Room(tile_overlap=4), *rooms]]
    assert needs == sorted(needs, reverse=True) and needs[-1] < 0.7 * needs[0]


def _peak(star: PublishedStar, room: Room, phase: Phase) -> int:
    return forecast(star.memory.sizes, 2, 42, 48, room).of(phase)  # 40 x 48 as latents


def test_decoding_goes_on_behind_the_frames_that_are_out() -> None:
    star = tiny()
    star.codec.group, star.codec.overlap = 2, 1
    plain = star.upscale_clip(clip(4, 24, 24), num_steps=1)
    star.codec.vae.decode = Failing(star.codec.vae.decode, {3})  # type: ignore[method-assign]
    frames = list(star.upscale_frames(clip(4, 24, 24), slice(None), num_steps=1))
    assert len(frames) == 4
    assert star.memory.room is not None and star.memory.room.coding_tiles != (1, 1)
    assert torch.equal(torch.stack(frames[:2], 1), plain[0, :, :2])  # out before memory ran out
    assert (torch.stack(frames[2:], 1) - plain[0, :, 2:]).abs().mean() < 0.1


def test_encoding_too() -> None:
    star = tiny()
    star.codec.vae.moments = Failing(star.codec.vae.moments, {1})  # type: ignore[method-assign]
    assert star.upscale_clip(clip(1, 48, 48), num_steps=1).isfinite().all()
    assert star.memory.room is not None and star.memory.room.coding_tiles != (1, 1)


def test_without_a_smaller_plan_it_says_so() -> None:
    star = tiny()
    star.network.forward = Failing(star.network.forward, set(range(1, 100)))  # type: ignore[method-assign]
    with pytest.raises(ResourceError, match=r"no smaller plan than .*: give a smaller --segment"):
        star.upscale_clip(clip(1, 8, 8), num_steps=1)


def test_other_errors_pass() -> None:
    star = tiny()
    star.network.forward = Failing(star.network.forward, {1}, RuntimeError("shapes differ"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes differ"):
        star.upscale_clip(clip(1, 8, 8), num_steps=1)
    assert star.notes == []


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_a_shortage_shows(error: Exception, wanted: bool) -> None:
    assert is_out_of_memory(error) is wanted


@pytest.mark.parametrize("free_share", [1.3, 0.6, 0.45])
def test_without_a_plan_the_free_memory_decides(monkeypatch: pytest.MonkeyPatch, free_share: float) -> None:
    star = tiny()
    _as_if_on_a_device(star)
    seen = Clip(2, 362, 480)
    rooms = rooms_for(star.memory.sizes, seen.height, seen.width)
    whole = min(rooms, key=lambda r: (r.place != "resident", r.tiles, r.coding_tiles, -r.at_once))
    most = forecast(star.memory.sizes, *dataclasses.astuple(seen), whole)
    counted = most.peak - most.margin
    free = int((1.06 * free_share * counted + 800 * MB) / 0.95)  # the margin alone is larger than this model
    monkeypatch.setattr(keeper_module, "free_bytes", lambda device: free)
    room = star.memory.settled(seen)
    predicted = forecast(star.memory.sizes, *dataclasses.astuple(seen), room)
    assert predicted.peak <= 0.95 * free
    assert (room.coding_tiles == room.tiles == (1, 1)) == (free_share > 1)


def test_the_ladder_ends_at_the_smallest_plan() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    seen = Clip(8, 122, 216)
    rooms = rooms_for(star.memory.sizes, seen.height, seen.width)
    room, steps = Room(at_once=max(r.at_once for r in rooms)), 0
    while (smaller := next_smaller(star.memory.sizes, seen, room, rooms, "sample")) is not None:
        before, after = (
            forecast(star.memory.sizes, *dataclasses.astuple(seen), r).of("sample") for r in (room, smaller)
        )
        assert after <= 0.85 * before
        room, steps = smaller, steps + 1
    assert steps >= 4
    least = min(forecast(star.memory.sizes, *dataclasses.astuple(seen), r).of("sample") for r in rooms)
    assert forecast(star.memory.sizes, *dataclasses.astuple(seen), room).of("sample") < least / 0.85


def test_more_memory_never_costs_more_work() -> None:
    star = tiny()
    _as_if_on_a_device(star)
    clips = [(length, Clip(length + 8, 122, 216)) for length in (24, 12, 4)]
    rooms = rooms_for(star.memory.sizes, 122, 216)
    least = smallest(star.memory.sizes, clips, rooms).prediction.peak
    chosen = [choose(star.memory.sizes, clips, rooms, least + extra * MB) for extra in (0, 20, 60, 200, 2000)]
    works = [choice.work for choice in chosen if choice]
    assert len(works) == 5 and works == sorted(works, reverse=True) and works[0] > works[-1]
    assert choose(star.memory.sizes, clips, rooms, least - 1) is None
    assert chosen[-1] is not None and chosen[-1].room.place == "resident" and chosen[-1].length == 24


def test_rooms_go_into_books_and_come_back() -> None:
    for place in PLACES:
        room = Room(place, (2, 3), (1, 2), 8, 1000, 64)
        assert Room.from_dict(room.as_dict()) == room
