"""The training loop: stages of steps over a stream of samples, with averages, checkpoints and validation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from starvsr.data.pool import DegradedPool
from starvsr.data.synthetic import SharpSource
from starvsr.diffusion.schedules import star_schedule
from starvsr.errors import DataError
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.models.registry import get_spec
from starvsr.models.star_small import StarSmall
from starvsr.models.weights import load_weights
from starvsr.pipelines.frames import enlarge
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.objectives import OBJECTIVES, Parts, Trainee
from starvsr.training.optimizer import Muon, parameter_groups

HEAD_NAME = "unet.out.2."
ADAM_NAMES = ("context",)
"""Matrices left to Adam. Not the first and last convolutions: all their inputs move together, so Adam's steps of
equal size in every weight add up to jumps of the whole picture's brightness."""


class Trainer:
    """Runs a recipe in a folder; a run in a folder with checkpoints goes on from the newest."""

    def __init__(self, config: TrainConfig, folder: Path, *, start_from: Path | None = None) -> None:
        """Build network, data and averages; ``start_from`` are weights to begin with."""
        self.config, self.folder = config, folder
        folder.mkdir(parents=True, exist_ok=True)
        spec = get_spec(config.model)
        torch.manual_seed(config.seed)
        network = StarSmall(spec.unet, spec.context_tokens)
        if start_from is not None:
            load_weights(network, start_from)
        autocast = torch.bfloat16 if config.run.precision == "bf16" else None
        self.trainee = Trainee(spec, network, PixelUnshuffleCodec(), star_schedule(), autocast)
        self.average = {key: value.clone() for key, value in network.state_dict().items()}
        self.step = 0
        self.rng = torch.Generator().manual_seed(config.seed)
        self.optimizer = self._new_optimizer()
        self._resume()

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.config.stage)

    def _new_optimizer(self) -> Muon:
        return Muon(parameter_groups(self.trainee.network, ADAM_NAMES, HEAD_NAME), lr=0.0)

    def _resume(self) -> None:
        path = latest_checkpoint(self.folder)
        if path is None:
            return
        state = load_checkpoint(path)
        self.trainee.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]
        self.rng.set_state(state["rng"])

    def save(self) -> Path:
        """Write a checkpoint of the present state."""
        state = {
            "network": self.trainee.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "rng": self.rng.get_state(),
            "config": json.dumps(asdict(self.config)),
        }
        return save_checkpoint(self.folder, self.step, state)

    def run(self) -> None:
        """Train to the end of the last stage."""
        self.log({"event": "start", "step": self.step, "parameters": self._num_parameters()})
        first = 0
        samples, cut = None, (0, 0)
        for number, stage in enumerate(self.config.stage):
            if self.step < first + stage.steps:
                wanted = stage.num_frames or self.config.data.num_frames, stage.lq_crop or self.config.data.lq_crop
                if samples is None or wanted != cut:
                    samples, cut = self._samples(*wanted), wanted
                self._run_stage(number, stage, first, samples)
            first += stage.steps
        self.save()
        self.log({"event": "end", "step": self.step})

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.trainee.network.parameters())

    def _samples(self, num_frames: int, lq_crop: int) -> Iterator[dict[str, Tensor]]:
        data = self.config.data
        source = SharpSource(
            data.videos or None,
            data.photos or None,
            data.cache,
            manifest=data.manifest or None,
            video_probability=data.video_probability,
        )
        source.prepare()
        done = self.step * data.batch
        pool = DegradedPool(
            source,
            data.degradation,
            num_frames=num_frames,
            lq_crop=lq_crop,
            clip_frames=data.clip_frames,
            gt_size=data.gt_size,
            pool_size=data.pool_size,
            crops_per_clip=data.crops_per_clip,
            seed=self.config.seed,
            first_clip=done // data.crops_per_clip + (data.pool_size if done else 0),
        )
        return iter(DataLoader(pool, batch_size=data.batch, num_workers=1, prefetch_factor=8))

    def _run_stage(self, number: int, stage: StageConfig, first: int, samples: Iterator[dict[str, Tensor]]) -> None:
        if stage.zero_head and self.step == first:
            self._zero_head()
        run, began, seen = self.config.run, time.monotonic(), self.step
        sums: dict[str, float] = {}
        for batch in islice(samples, first + stage.steps - self.step):
            lr = learning_rate(stage, self.step - first)
            parts = self._train_step(stage, batch, lr)
            self.step += 1
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            if self.step % run.log_every == 0:
                pace = (time.monotonic() - began) / (self.step - seen)
                means = {name: round(value / run.log_every, 5) for name, value in sums.items()}
                self.log({"step": self.step, "stage": number, "lr": lr, "s_per_step": round(pace, 3), **means})
                sums, began, seen = {}, time.monotonic(), self.step
            if self.step % run.save_every == 0:
                self.save()
            if self.step % run.validate_every == 0:
                self.log({"event": "validation", "step": self.step, **self.validate()})
                began, seen = time.monotonic(), self.step

    def _zero_head(self) -> None:
        """Set the last layer to zero, in the network, its average and the optimiser's memory."""
        head = self.trainee.network.unet.out[-1]
        for name, parameter in head.named_parameters():
            parameter.detach().zero_()
            self.average[f"unet.out.2.{name}"].zero_()
            self.optimizer.state.pop(parameter, None)

    def _train_step(self, stage: StageConfig, batch: dict[str, Tensor], lr: float) -> Parts:
        objective = stage.objective
        if stage.velocity_every and self.step % stage.velocity_every == stage.velocity_every - 1:
            objective = "velocity"
        for group in self.optimizer.param_groups:
            group["lr"] = lr * (stage.head_lr_scale if group["is_head"] else 1.0)
        parts = OBJECTIVES[objective](self.trainee, batch["lq"], batch["gt"], stage, self.rng)
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            named = ", ".join(f"{name} {float(value):g}" for name, value in parts.items())
            raise DataError(f"the loss is not finite at step {self.step} ({named}): lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trainee.network.parameters(), self.config.run.clip_grad)
        self.optimizer.step()
        self._update_average()
        suffix = "" if objective == stage.objective else "*"
        return {name + suffix: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.run.ema, (1 + self.step) / (10 + self.step))
        for key, value in self.trainee.network.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)

    def validate(self) -> dict[str, float]:
        """Measure the averaged network on fixed samples: PSNR of the luma beside bicubic's, in dB."""
        if not self.config.data.validation_videos:
            return {}
        trained = {key: value.clone() for key, value in self.trainee.network.state_dict().items()}
        self.trainee.network.load_state_dict(self.average)
        self.trainee.network.eval()
        gains = {"psnr": 0.0, "psnr_bicubic": 0.0}
        samples = self._validation_samples()
        with torch.inference_mode():
            for sample in samples:
                lq, gt = sample["lq"][None], sample["gt"][None]
                gains["psnr"] += _psnr(self.trainee.one_step(lq), gt)
                gains["psnr_bicubic"] += _psnr(enlarge(lq, gt.shape[-2], gt.shape[-1], "bicubic"), gt)
        self.trainee.network.load_state_dict(trained)
        self.trainee.network.train()
        return {name: round(value / len(samples), 3) for name, value in gains.items()}

    def _validation_samples(self) -> list[dict[str, Tensor]]:
        if not hasattr(self, "_validation"):
            data, run = self.config.data, self.config.run
            source = SharpSource(data.validation_videos, None, data.cache, manifest=data.manifest or None)
            pool = DegradedPool(source, data.degradation, lq_crop=64, gt_size=256, crops_per_clip=1, pool_size=1)
            self._validation = list(islice(pool, run.validation_samples))
        return self._validation

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to the run's log and print it."""
        line = json.dumps({"time": time.strftime("%H:%M:%S"), **values})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")


def learning_rate(stage: StageConfig, step: int) -> float:
    """Rise over the warm-up, then stay or fall to zero along a cosine."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.lr
    share = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * share))


def _psnr(prediction: Tensor, target: Tensor) -> float:
    weights = torch.tensor([65.481, 128.553, 24.966])[:, None, None, None] / 2  # BT.601 luma of [-1, 1]
    error = (((prediction.clamp(-1, 1) - target) * weights).sum(1) ** 2).mean()
    return float(10 * torch.log10(255**2 / error))
