"""Validation: a few fixed samples, measured and, if wanted, written as videos to look at.

Knows no metrics but PSNR: others are handed in, because `starvsr.metrics` lies beside this room, not below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.data.clips import DegradedClips, StoredPairs
from starvsr.data.pool import Sample, SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.diffusion.denoiser import Predict, from_velocity, guided
from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.samplers import dpmpp_2m_sde
from starvsr.families.star_i2vgen.sampling import Sampling
from starvsr.imaging.frames import enlarge
from starvsr.training.config import DataConfig, RunConfig, TrainConfig
from starvsr.training.ema import MovingAverage
from starvsr.training.trainee import Trainee
from starvsr.video.codec_pass import write_clip
from starvsr.video.pixels import from_unit

ByteArray = npt.NDArray[np.uint8]
Measure = Callable[[ByteArray, ByteArray], float]
"""Compares gt and hq, uint8 [T, H, W, 3]."""


class Validation:
    """The fixed samples of a run and what is measured on them; samples are made when they are first needed.

    Args:
        config: the recipe.
        trainee: holds the network.
        average: of its weights; this is what is measured.
        measures: more numbers, see :func:`validate`.
    """

    def __init__(
        self, config: TrainConfig, trainee: Trainee, average: MovingAverage, measures: Mapping[str, Measure]
    ) -> None:
        self.config, self.trainee, self.average, self.measures = config, trainee, average, measures
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
            self.trainee.network.eval()
            values = validate(
                self.trainee,
                self._samples,
                self.measures,
                num_steps=run.validation_steps or self.trainee.validation_steps,
                videos=videos,
                num_videos=run.sample_videos,
            )
        self.trainee.network.train()
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
    trainee: Trainee,
    samples: list[Sample],
    measures: Mapping[str, Measure],
    *,
    num_steps: int = 1,
    videos: Path | None = None,
    num_videos: int = 0,
) -> dict[str, float]:
    """Measure results: PSNR of the luma beside bicubic's, in dB, and whatever else is handed in.

    Args:
        trainee: with the weights to measure.
        samples: from :func:`validation_samples`.
        measures: more numbers.
        num_steps: steps that each result takes, see :func:`restored`.
        videos: gets samples to look at.
        num_videos: how many.

    Returns:
        Means over the samples. ``videos`` gets the first ``num_videos`` as input, result and ground truth in a row.
    """
    totals: dict[str, float] = {"psnr": 0.0, "psnr_bicubic": 0.0, **dict.fromkeys(measures, 0.0)}
    device = next(trainee.network.parameters()).device
    for index, sample in enumerate(samples):
        lq, gt = (sample[name][None].to(device) for name in ("lq", "gt"))
        hq, plain = restored(trainee, lq, num_steps), enlarge(lq, gt.shape[-2], gt.shape[-1], "bicubic")
        totals["psnr"] += luma_psnr(hq, gt)
        totals["psnr_bicubic"] += luma_psnr(plain, gt)
        for name, measure in measures.items():
            totals[name] += float(measure(_bytes(gt), _bytes(hq)))
        if videos is not None and index < num_videos:
            videos.mkdir(parents=True, exist_ok=True)
            row = np.concatenate([_bytes(clip) for clip in (plain, hq, gt)], axis=2)
            write_clip(videos / f"{index}.mp4", row, crf=12)
    return {name: round(value / len(samples), 3) for name, value in totals.items()}


def restored(trainee: Trainee, lq: Tensor, num_steps: int, seed: int = 0) -> Tensor:
    """Return what a network makes of a low-quality clip [1, 3, T, h, w], in pixels [1, 3, T, H, W].

    One step starts from the low-quality latents; more start from their noised form and go the way of the pipelines,
    with guidance where the network reads text.
    """
    if num_steps == 1:
        return trainee.one_step(lq)
    schedule, prompts = trainee.schedule, trainee.prompts
    levels = Sampling().levels(schedule, num_steps) if prompts else schedule.normal(num_steps)
    hint = trainee.encode_lq(lq)
    noise = FrameNoise(tuple(hint.shape), seed=seed, first_frame=0, device=hint.device)

    def reading(text: str) -> Predict:
        return lambda x, t: trainee.velocity(x, t, hint, [text] * len(x))

    wanted, unwanted = prompts or ("", "")
    guidance = Sampling.guidance if prompts else 1.0
    predict = guided(reading(wanted), reading(unwanted), scale=guidance, rescale=Sampling.rescale)
    start = schedule.add_noise(hint, noise("start"), schedule.integer_timestep_at(levels[:1]))
    latents = dpmpp_2m_sde(from_velocity(predict, schedule), start, levels, noise=noise)
    return trainee.decode(latents)[..., : lq.shape[-2] * trainee.spec.scale, : lq.shape[-1] * trainee.spec.scale]


def luma_psnr(prediction: Tensor, target: Tensor) -> float:
    """PSNR of the BT.601 luma of clips [B, 3, T, H, W] in [-1, 1], in dB."""
    weights = torch.tensor([65.481, 128.553, 24.966], device=target.device)[:, None, None, None] / 2
    error = (((prediction.clamp(-1, 1) - target) * weights).sum(1) ** 2).mean()
    return float(10 * torch.log10(255**2 / error))


def _bytes(clip: Tensor) -> ByteArray:
    return np.asarray(from_unit(clip[0].float().cpu(), 8), np.uint8)
