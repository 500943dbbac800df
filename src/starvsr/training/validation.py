"""Validation: a few fixed samples, measured and, if wanted, written as videos to look at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.data.clips import DegradedClips, StoredPairs
from starvsr.data.pool import Sample, SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.imaging.frames import enlarge
from starvsr.metrics.evaluate import measure
from starvsr.metrics.fidelity import SSIM_Y, clip_psnr_y
from starvsr.metrics.metric import ByteArray, Metric, mean
from starvsr.metrics.registry import choose_metrics
from starvsr.training.config import DataConfig, RunConfig, TrainConfig
from starvsr.training.ema import MovingAverage
from starvsr.training.model import TrainingModel
from starvsr.video.codec_pass import write_clip
from starvsr.video.pixels import from_unit

_NAMES = {SSIM_Y.name: "ssim"}
"""What the log calls metrics, where it is not their name."""


class Validation:
    """The fixed samples of a run and what is measured on them; samples are made when they are first needed.

    Args:
        config: the recipe.
        model: holds the network.
        average: of its weights; this is what is measured.

    Raises:
        OptionError: the recipe names an unknown metric.
    """

    def __init__(self, config: TrainConfig, model: TrainingModel, average: MovingAverage) -> None:
        self.config, self.model, self.average = config, model, average
        self.metrics = choose_metrics([SSIM_Y, *(n for n in config.run.validation_metrics if n != SSIM_Y.name)])
        self._samples: list[Sample] | None = None

    def measure(self, videos: Path | None = None) -> dict[str, float]:
        """Measure the average as it is now, and leave the network training; {} without validation videos.

        Args:
            videos: gets as many samples to look at as the recipe asks for; None for none.
        """
        run = self.config.run
        if self._samples is None:
            self._samples = validation_samples(self.config.data, run)
        if not self._samples:
            return {}
        with self.average.in_place():
            self.model.network.eval()
            values = validate(
                self.model,
                self._samples,
                self.metrics,
                num_steps=run.validation_steps or self.model.validation_steps,
                videos=videos,
                num_videos=run.sample_videos,
            )
        self.model.network.train()
        return values


def validation_samples(data: DataConfig, run: RunConfig, seed: int = 0) -> list[Sample]:
    """Cut the fixed samples: 64 px crops of degraded validation videos, one per clip; [] without a folder."""
    if not data.validation_videos:
        return []
    if (Path(data.validation_videos) / "gt").is_dir():
        stored = StoredPairs(data.validation_videos, data.cache, gt_size=256, clip_frames=data.num_frames, seed=seed)
        stream = SampleStream(stored, num_frames=data.num_frames, lq_crop=64, pool_size=1, crops_per_clip=1, seed=seed)
    else:
        source = SharpSource(data.validation_videos, None, data.cache, manifest=data.manifest or None)
        clips = DegradedClips(source, data.degradation, gt_size=256, seed=seed)
        stream = SampleStream(clips, num_frames=5, lq_crop=64, pool_size=1, crops_per_clip=1, seed=seed)
    return list(islice(stream, run.validation_samples))


@torch.inference_mode()
def validate(
    model: TrainingModel,
    samples: list[Sample],
    metrics: Sequence[Metric] = (SSIM_Y,),
    *,
    num_steps: int = 1,
    crop_px: int = 8,
    videos: Path | None = None,
    num_videos: int = 0,
) -> dict[str, float]:
    """Measure results: PSNR of the luma beside bicubic's, in dB, and metrics.

    Args:
        model: with the weights to measure.
        samples: from :func:`validation_samples`.
        metrics: more numbers, means over frames.
        num_steps: steps that each result takes.
        crop_px: pixels of each border that the metrics (not the PSNR) leave out.
        videos: gets samples to look at.
        num_videos: how many.

    Returns:
        Means over the samples. ``videos`` gets the first ``num_videos`` as input, result and ground truth in a row.
    """
    rows: list[dict[str, float]] = []
    device = next(model.network.parameters()).device
    for index, sample in enumerate(samples):
        lq, gt = (sample[name][None].to(device) for name in ("lq", "gt"))
        hq, plain = model.restore(lq, num_steps), enlarge(lq, gt.shape[-2], gt.shape[-1], "bicubic")
        row = {"psnr": clip_psnr_y(_floats(gt), _floats(hq)), "psnr_bicubic": clip_psnr_y(_floats(gt), _floats(plain))}
        if metrics:
            values = measure(_bytes(hq), _bytes(gt), metrics=metrics, crop_px=crop_px, device=str(device))
            row |= {_NAMES.get(name, name): mean(found) for name, found in values.items()}
        rows.append(row)
        if videos is not None and index < num_videos:
            videos.mkdir(parents=True, exist_ok=True)
            frames = np.concatenate([_bytes(clip) for clip in (plain, hq, gt)], axis=2)
            write_clip(videos / f"{index}.mp4", frames, crf=12)
    return {name: round(mean([row[name] for row in rows]), 3) for name in rows[0]}


def _bytes(clip: Tensor) -> ByteArray:
    return np.asarray(from_unit(clip[0].float().cpu(), 8), np.uint8)


def _floats(clip: Tensor) -> npt.NDArray[np.float64]:
    """Return [1, 3, T, H, W] in [-1, 1] as RGB in [0, 255], not rounded, [T, H, W, 3]."""
    return (clip[0].permute(1, 2, 3, 0).double().cpu().numpy() + 1) * 127.5
