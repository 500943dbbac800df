from __future__ import annotations

import pytest

from benchmarks.speed.train_step import build, take_step


@pytest.mark.slow
def test_a_step_of_a_mid_size_star_moves_control_and_liem() -> None:
    found = take_step(build(64), 2)
    assert 80e6 < found["parameters"] < 130e6 and found["trained"] < 0.5 * found["parameters"]
    assert found["tensors_moved"] > 10 and found["gradient_norm"] > 0 and found["df"] > 0
