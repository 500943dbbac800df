"""The time of a job from a trial: a model with a known price, and a clock that it turns."""

from __future__ import annotations

import pytest
import torch

from starvsr.apps.cli.time_estimate import NUM_FRAMES, PATIENCE_S, seconds_of_clip, seconds_per_pixel


class Priced:
    """A model at work whose clips cost so many seconds a pixel to begin, for each step in turn, and to end."""

    on_replan = None
    notes: list[str] = []  # noqa: RUF012

    def __init__(self, begin: float, steps: list[float], end: float, fixed: float = 0.0, num_steps: int = 1) -> None:
        self.now, self.num_steps = 0.0, num_steps
        self.made: list[tuple[int, int]] = []
        self._begin, self._steps, self._end, self._fixed = begin, steps, end, fixed

    def clock(self) -> float:
        return self.now

    def upscale(self, lq, keep, *, segment, first_frame, on_step=None):  # type: ignore[no-untyped-def]
        num_steps = self.num_steps
        pixels = lq[0, 0].numel()
        self.made.append((lq.shape[-1], num_steps))
        self.now += self._begin * pixels + self._fixed
        for step in range(num_steps):
            self.now += self._steps[step % len(self._steps)] * pixels
            if on_step is not None:
                on_step(step + 1, num_steps)
        self.now += self._end * pixels
        yield from lq[0, :, keep].unbind(1)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 14, 50])
def test_a_few_steps_stand_for_all(num_steps: int) -> None:
    model = Priced(2e-6, [5e-6], 3e-6, num_steps=num_steps)
    lq = torch.zeros(1, 3, 2, 10, 10)
    end = 3e-6 if num_steps <= 3 else 0  # what follows the last step is not reached
    assert seconds_of_clip(model, lq, num_steps, model.clock) == pytest.approx(200 * (2e-6 + num_steps * 5e-6 + end))
    assert model.now == pytest.approx(200 * (2e-6 + min(num_steps, 3) * 5e-6 + end))
    assert model.made == [(10, num_steps)]


def test_steps_that_take_turns_are_averaged() -> None:
    """As with features that are kept for every second step."""
    model = Priced(0, [8e-6, 2e-6], 0, num_steps=14)
    assert seconds_of_clip(model, torch.zeros(1, 3, 2, 10, 10), 14, model.clock) == pytest.approx(
        200 * 14 * 5e-6, rel=0.1
    )


def test_a_quick_model_is_tried_on_a_large_clip() -> None:
    model = Priced(1e-7, [1e-6], 1e-7, fixed=0.01)
    found = seconds_per_pixel(model, 1, 1000, "cpu", model.clock)
    assert [side for side, _ in model.made] == [16, 32, 64, 128, 128]
    assert found == pytest.approx(1.2e-6 + 0.01 / (NUM_FRAMES * 128**2))


def test_a_slow_model_is_tried_once_and_small() -> None:
    model = Priced(0, [10.0 * PATIENCE_S / (NUM_FRAMES * 16**2)], 0, num_steps=14)
    seconds_per_pixel(model, 14, 1000, "cpu", model.clock)
    assert model.made == [(16, 14)] and model.now == pytest.approx(30 * PATIENCE_S)


@pytest.mark.parametrize(("smallest", "sides"), [(40, {16, 32}), (7, {7}), (128, {16, 32, 64, 128})])
def test_trials_are_no_larger_than_the_job(smallest: int, sides: set[int]) -> None:
    model = Priced(0, [1e-7], 0)
    seconds_per_pixel(model, 1, smallest, "cpu", model.clock)
    assert {side for side, _ in model.made} == sides


def test_trials_are_no_smaller_than_the_model_takes() -> None:
    model = Priced(0, [1e-7], 0)
    seconds_per_pixel(model, 1, 64, "cpu", model.clock, least_side=32)
    assert {side for side, _ in model.made} == {32, 64}
