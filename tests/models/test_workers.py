"""Pieces of work on threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from starvsr.models.star.small.one_step import OneStep
from starvsr.models.workers import Workers, workers
from tests.models.star.test_small_one_step import TINY, _folded, _network
from tests.support.bfloat16 import needs_bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_all_pieces_are_done_on_that_many_threads(count: int) -> None:
    torch.set_num_threads(count)
    seen: dict[int, str] = {}
    together = threading.Barrier(count)

    def piece(number: int) -> None:
        if number < count:
            together.wait(10)  # fails unless as many pieces are under way at once
        seen[number] = threading.current_thread().name
        assert torch.get_num_threads() == 1

    with workers(CPU) as crew:
        crew.run(lambda number=number: piece(number) for number in range(7))
    assert sorted(seen) == list(range(7))
    assert len(set(seen.values())) <= count
    assert torch.get_num_threads() == count


def test_an_error_waits_for_what_is_under_way_and_comes_out() -> None:
    torch.set_num_threads(2)
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    def wrong() -> None:
        begun.wait(10)
        threading.Timer(0.05, may_end.set).start()
        raise ValueError("wrong")

    with workers(CPU) as crew, pytest.raises(ValueError, match="wrong"):
        crew.run([wrong, slow])
    assert ended.is_set()


@pytest.mark.parametrize("count", [1, 2])
def test_groups_come_in_order_and_no_more_than_wanted_are_begun(count: int) -> None:
    torch.set_num_threads(count)
    begun: list[int] = []

    def groups() -> Iterator[tuple[int, list[object]]]:
        for number in range(6):
            begun.append(number)
            yield number, [lambda: None]

    with workers(CPU) as crew:
        taken = []
        for result in crew.in_order(groups(), ahead=1):  # type: ignore[arg-type]
            taken.append(result)
            assert len(begun) <= len(taken) + 1
    assert taken == list(range(6))


def test_a_group_that_fails_ends_the_row() -> None:
    torch.set_num_threads(2)

    def wrong() -> None:
        raise ValueError("second")

    with workers(CPU) as crew:
        row = crew.in_order([(0, [lambda: None]), (1, [wrong]), (2, [lambda: None])], ahead=2)
        assert next(row) == 0
        with pytest.raises(ValueError, match="second"):
            next(row)


def test_other_devices_have_no_threads() -> None:
    torch.set_num_threads(3)
    with workers(torch.device("meta")) as crew:
        assert isinstance(crew, Workers)
        assert crew.count == 1


@pytest.mark.parametrize("strip", [28_000, 500], ids=["whole frames", "strips of rows"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
def test_the_bytes_are_the_same_on_any_number_of_threads(
    strip: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starvsr.models.star.small.fused_layers.STRIP_PX", strip)
    model: OneStep = _folded(_network(TINY)).to_network_type(dtype)
    clip = torch.rand(1, 3, 5, 30, 42, generator=torch.Generator().manual_seed(1)) * 2 - 1
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        with torch.inference_mode():
            results.append(torch.stack(list(model(clip))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
