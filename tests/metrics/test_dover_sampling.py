"""Which frames DOVER looks at: hand-worked indices, distributions, and bounded memory over clips of unknown length."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from starvsr.metrics.dover.sampling import RunSampler, SegmentSampler


def drawn(sampler: RunSampler | SegmentSampler, count: int) -> list[int]:
    for index in range(count):
        sampler.take(partial(np.array, [index]))
    return [int(view[0]) for view in sampler.frames()]


def run(count: int, seed: int = 0) -> list[int]:
    return drawn(RunSampler(np.random.default_rng(seed)), count)


def segments(count: int, seed: int = 0) -> list[int]:
    return drawn(SegmentSampler(np.random.default_rng(seed)), count)


def test_short_clips_are_walked_through_in_steps_of_two_and_wrap():
    assert run(0) == [] and run(1) == [0] * 32
    assert run(16) == [*range(0, 16, 2)] * 4
    assert run(32) == [*range(0, 32, 2)] * 2
    assert run(33) == [*range(0, 33, 2), *range(1, 30, 2)]
    assert run(64) == [*range(0, 64, 2)]
    assert run(65) == [*range(0, 64, 2)]


def test_runs_of_a_long_clip_begin_anywhere():
    for seed in range(20):
        found = run(300, seed)
        assert found == [*range(found[0], found[0] + 64, 2)] and 0 <= found[0] <= 235
    begins = np.bincount([run(70, seed)[0] for seed in range(1200)])
    assert len(begins) == 6  # 0 to N - 65
    assert begins.min() > 150 and begins.max() < 250  # of 200 each, +-4 standard deviations


def test_segments_of_short_clips_give_their_first_frame():
    assert segments(0) == [] and segments(1) == [0] * 32 and segments(16) == [0] * 32
    assert segments(32) == [*range(32)] and segments(33) == [*range(32)]
    assert segments(64) == [*range(0, 64, 2)] and segments(127) == [*range(0, 96, 3)]


def test_frames_of_segments_are_uniform_but_for_the_last_two():
    found = np.array([segments(300, seed) for seed in range(300)]) - 9 * np.arange(32)
    counts = np.bincount(found.ravel(), minlength=9)
    assert counts[7:].sum() == 0  # L is 9: offsets 0 to 6
    assert counts[:7].min() > 1220 and counts[:7].max() < 1520  # of 1371 each, +-4.4 standard deviations


@pytest.mark.parametrize("count", [129, 200, 513, 1000, 2222])
def test_dropping_frames_changes_nothing(count):
    priorities = np.random.default_rng(5).random(count)  # as the sampler draws them, one a frame
    length = count // 32
    expected = [i * length + int(np.argmin(priorities[i * length : (i + 1) * length - 2])) for i in range(32)]
    assert segments(count, 5) == expected


def test_memory_does_not_grow_with_the_clip():
    sampler, most = SegmentSampler(np.random.default_rng(0)), 0
    runs, made = RunSampler(np.random.default_rng(0)), []
    for index in range(6000):
        sampler.take(partial(np.array, [index]))
        most = max(most, sampler.num_kept)
        runs.take(lambda index=index: made.append(index) or np.array([index]))
    assert most < 200
    assert len(made) < 600  # of most frames nothing is cut


def test_the_seed_decides():
    assert run(300, 3) == run(300, 3) and segments(300, 3) == segments(300, 3)
    assert run(300, 3) != run(300, 4) and segments(300, 3) != segments(300, 4)
