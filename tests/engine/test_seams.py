"""Gates on borders: what a segment's end may show, with a model that could not hide it and with star-small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.quality.seams import MOST_RATIO, MOST_STEP, ciede2000, default_cut, enlarge, look_at, mean_lab, read
from starvsr.data.sample import make_sample_clip
from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.tiles import grid_of_tiles
from starvsr.families.star_small.pipeline import StarSmallUpscaler
from tests.support.doubles import DriftingUpscaler, NearestUpscaler, TemporalMeanUpscaler

NUM_FRAMES, WIDTH, HEIGHT = 40, 64, 48


class SmoothingUpscaler(NearestUpscaler):
    """A model that looks ``reach`` frames to both sides, like a network: needs as much context, and no more."""

    reach = 2

    def upscale_clip(self, lq: Tensor, **arguments) -> Tensor:  # type: ignore[override,no-untyped-def]
        hq = super().upscale_clip(lq, **arguments)
        frames = torch.nn.functional.pad(hq[0].flatten(2), (0, 0, self.reach, self.reach), mode="replicate")
        width = 2 * self.reach + 1
        return frames.unfold(1, width, 1).mean(-1).view_as(hq[0])[None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    path = tmp_path_factory.mktemp("seams") / "in.mp4"
    make_sample_clip(path, seed=1, width=WIDTH, height=HEIGHT, num_frames=NUM_FRAMES, photos=("chelsea",))
    return read(path, NUM_FRAMES)


@pytest.fixture(scope="module")
def star_small() -> StarSmallUpscaler:
    return StarSmallUpscaler.load("star-small")


def _cut(length: int, overlap: int, crossfade: int = 0) -> ChunkPlan:
    return ChunkPlan(length, overlap, crossfade, grid_of_tiles(HEIGHT, WIDTH, None, 0), memory=0, budget=0)


def test_a_model_shows_no_border_when_it_has_the_context_that_it_looks_at(clip: list[np.ndarray]) -> None:
    seen = look_at(clip, SmoothingUpscaler(), _cut(8, 2), scenes=False)
    assert (seen.num_borders, seen.ratio) == (4, 1.0) and seen.step < 1e-9
    assert look_at(clip, SmoothingUpscaler(), _cut(8, 0), scenes=False).ratio > 1.1  # the measure sees what is there


def test_a_model_that_drifts_shows_borders_and_a_cross_fade_takes_them_away(clip: list[np.ndarray]) -> None:
    bare = look_at(clip, DriftingUpscaler(), _cut(8, 4), scenes=False)
    faded = look_at(clip, DriftingUpscaler(), _cut(8, 4, 4), scenes=False)
    assert bare.step > 3 and faded.step < 0.6 * bare.step
    assert bare.ratio > 1.2 and faded.ratio < bare.ratio - 0.1


def test_star_small_holds_the_gates_at_its_defaults(clip: list[np.ndarray], star_small: StarSmallUpscaler) -> None:
    cut = default_cut(clip, star_small)
    seen = look_at(clip, star_small, cut)
    assert seen.num_borders == 1 and seen.holds, seen
    assert seen.ratio <= MOST_RATIO and seen.step <= MOST_STEP


def test_star_small_steps_in_no_colour_where_the_picture_stands_still(
    clip: list[np.ndarray], star_small: StarSmallUpscaler
) -> None:
    """In a picture that moves, most of the step in all is the picture's own; here all of it is the border's."""
    noise = np.random.default_rng(2).integers(-3, 4, (NUM_FRAMES, *clip[0].shape))
    still = [np.clip(clip[0] + grain, 0, 255).astype(np.uint8) for grain in noise]
    seen = look_at(still, star_small, default_cut(still, star_small))
    assert seen.num_borders == 1 and seen.holds and seen.raw_step <= MOST_STEP, seen


@pytest.mark.parametrize("model", ["star-small", "mean"])
def test_no_byte_of_a_shot_depends_on_the_next(
    model: str, clip: list[np.ndarray], star_small: StarSmallUpscaler
) -> None:
    upscaler = star_small if model == "star-small" else TemporalMeanUpscaler()
    first, others = clip[:9], ([np.rot90(f, 2).copy() for f in clip[9:15]], [255 - f[:, ::-1] for f in clip[9:15]])
    made = []
    for other in others:
        frames, _, starts = enlarge([*first, *other], upscaler, _cut(4, 3, 2))
        assert starts == [0, 9]
        made.append(frames)
    for one, same in zip(made[0][:9], made[1][:9], strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(made[0][9], made[1][9])
    back = enlarge([*others[0], *first], upscaler, _cut(4, 3, 2))[0][6:]  # nor on the one before
    again = enlarge([*others[1], *first], upscaler, _cut(4, 3, 2))[0][6:]
    assert all(np.array_equal(*pair) for pair in zip(back, again, strict=True))


def test_a_clip_without_borders_cannot_be_looked_at(clip: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="too short"):
        look_at(clip[:8], NearestUpscaler(), _cut(8, 0), scenes=False)


def test_colours_and_their_differences_are_those_of_the_standard() -> None:
    assert mean_lab(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx([100, 0, 0], abs=0.01)
    assert mean_lab(np.full((2, 2, 3), (255, 0, 0), np.uint8)) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    # three of the pairs that Sharma, Wu and Dalal published for checking
    for one, other, difference in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ):
        assert ciede2000(np.array(one, float), np.array(other, float)) == pytest.approx(difference, abs=1e-4)
