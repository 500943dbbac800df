"""What a recipe's data section makes of sharp clips."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from starvsr.errors import DataError
from starvsr.training.config import DataConfig, StageConfig, TrainConfig
from starvsr.training.distributed import Processes
from starvsr.training.loaders import training_stream


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """A photo of 200 px with stripes eight pixels apart: the more it is reduced, the steeper they are."""
    (tmp_path / "photos").mkdir()
    wave = 127 + 100 * np.sin(np.arange(200) * 2 * np.pi / 8)
    pixels = np.broadcast_to(wave.astype(np.uint8)[None, :, None], (200, 200, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "photos" / "stripes.png")
    return tmp_path / "photos"


def _config(photos: Path, **data: float) -> TrainConfig:
    sizes = DataConfig(
        photos=str(photos), cache=str(photos.parent / "cache"), degradation="light", num_frames=1, lq_crop=12,
        clip_frames=1, gt_size=64, pool_size=2, crops_per_clip=1, batch=1, workers=0, **data,  # type: ignore[arg-type]
    )  # fmt: skip
    return TrainConfig(stage=(StageConfig(objective="velocity", steps=1),), data=sizes)


def _steepness(config: TrainConfig) -> float:
    stream: Iterator[dict[str, torch.Tensor]] = iter(training_stream(config, Processes(), 0))  # type: ignore[arg-type]
    clips = torch.stack([sample["gt"] for sample in islice(stream, 12)])
    return float(clips.diff(dim=-1).abs().mean() + clips.diff(dim=-2).abs().mean())


def test_photos_that_may_be_reduced_more_give_a_sharper_ground_truth(stripes: Path) -> None:
    plain, reduced = (_steepness(_config(stripes, photo_reduction=most)) for most in (1.0, 2.5))
    assert reduced > 1.2 * plain


@pytest.mark.parametrize("key", ["photo_reduction", "video_reduction"])
def test_a_ground_truth_that_would_be_enlarged_is_refused(stripes: Path, key: str) -> None:
    with pytest.raises(DataError, match=rf"data\.{key} must be at least 1, not 0\.5"):
        training_stream(_config(stripes, **{key: 0.5}), Processes(), 0)


@pytest.mark.parametrize("key", ["gray_probability", "defocus_probability", "drawn_probability", "video_probability"])
def test_a_share_above_one_is_refused(stripes: Path, key: str) -> None:
    with pytest.raises(DataError, match=rf"data\.{key} is a share: between 0 and 1, not 1\.5"):
        training_stream(_config(stripes, **{key: 1.5}), Processes(), 0)
