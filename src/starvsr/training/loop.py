"""The training loop: stages of steps over a stream of samples, with averages, checkpoints and validation.

Everything random in a step is a function of (seed, process, step): samples, noise, dropout. So a run that was
killed goes on from its checkpoint bit for bit as if it had not been.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from starvsr.data.clips import ClipSource, DegradedClips, StoredPairs
from starvsr.data.pool import Batch, SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.errors import DataError, OptionError
from starvsr.models.registry import PUBLISHED
from starvsr.models.weights import liem_names, load_weights
from starvsr.training.changes import check_changes
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.objectives import (
    OBJECTIVES,
    Parts,
    helper_losses,
    helper_names,
    new_critic,
)
from starvsr.training.optimizer import Muon, parameter_groups
from starvsr.training.processes import (
    Processes,
    load_whole_state,
    split_like,
    split_weights,
    whole,
    whole_state,
)
from starvsr.training.records import RunLog, peak_memory_gb
from starvsr.training.selection import HEAD_NAME, choose_trained, constant_names
from starvsr.training.trainee import CaptionedStar, Trainee, build_trainee
from starvsr.training.validation import Measure, validate, validation_samples

ADAM_NAMES = ("context",)
"""Matrices left to Adam. Not the first and last convolutions: all their inputs move together, so Adam's steps of
equal size in every weight add up to jumps of the whole picture's brightness."""


class Trainer:
    """Runs a recipe in a folder; a run in a folder with checkpoints goes on from the newest.

    Args:
        config: the recipe.
        folder: gets checkpoints and log.
        start_from: weights to begin with, of the same network, with or without the gates of LIEM, which otherwise
            start afresh; for a published model, in place of the recipe's ``init``.
        processes: the group that trains together; None for this process alone.
        measures: more numbers for the validation, see :func:`starvsr.training.validation.validate`.
        allow_changes: go on although the recipe differs from the run's in what is already trained.

    Raises:
        DataError: the recipe differs from the one that the run began with (the differences are shown).
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        *,
        start_from: Path | None = None,
        processes: Processes | None = None,
        measures: Mapping[str, Measure] | None = None,
        allow_changes: bool = False,
    ) -> None:
        self.config, self.folder = config, folder
        self.processes, self.measures = processes or Processes(), measures or {}
        folder.mkdir(parents=True, exist_ok=True)
        run = config.run
        self.records = RunLog(folder, is_first=self.processes.is_first, tensorboard=run.tensorboard, wandb=run.wandb)
        path = latest_checkpoint(folder)
        state = None if path is None else load_checkpoint(path)
        self.trainee = self._build(start_from, state)
        self.network = self.trainee.network
        self.constant = constant_names(self.network, config.stage)
        """Names of the parameters that no stage trains: they have no average of their own."""
        if run.parallel == "fsdp" and run.optimizer != "adamw":
            raise OptionError('run.parallel = "fsdp" needs run.optimizer = "adamw": Muon needs whole matrices')
        self.is_split = run.parallel == "fsdp" and self.processes.world > 1
        """Whether each process holds a share of the network; alone there is nothing to split."""
        if self.is_split:
            split_weights(self.network, self.processes)
        else:
            self.network.to(self.processes.device)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items() if k not in self.constant}
        self.step = 0
        self.rng = torch.Generator()
        self.optimizer = self._new_optimizer(self.network)
        self._helper_optimizers: dict[str, Optimizer] = {}
        self._helper_state: dict[str, Any] = {}
        if state is not None:
            self._resume(state, allow_changes)

    def _build(self, start_from: Path | None, state: dict[str, Any] | None) -> Trainee:
        """Build the trainee; a published one that goes on starts from what the run began with."""
        if self.config.model not in PUBLISHED:
            trainee = build_trainee(self.config, self.processes.device)
            if start_from is not None:
                load_weights(trainee.network, start_from, may_lack=liem_names(trainee.network.state_dict()))
            return trainee
        begun = (state or {}).get("start", {})
        word = begun.get("word", None if start_from is None else str(start_from.resolve()))
        trainee = build_trainee(self.config, self.processes.device, start=word, digest=begun.get("digest"))
        for name in constant_names(trainee.network, self.config.stage):
            trainee.network.get_parameter(name).requires_grad_(False)  # none of the optimiser's business
        return trainee

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.config.stage)

    def _new_optimizer(self, module: nn.Module) -> Optimizer:
        decay = self.config.run.weight_decay
        groups = parameter_groups(module, ADAM_NAMES, HEAD_NAME)
        if self.config.run.optimizer == "muon":
            return Muon(groups, lr=0.0, weight_decay=decay)
        return AdamW(groups, lr=0.0, weight_decay=decay)

    def _resume(self, state: dict[str, Any], allow_changes: bool) -> None:
        old, step = json.loads(state["config"]), state["step"]
        changes = check_changes(self.folder, self.config, old, step, allow=allow_changes)
        if changes:
            self.log({"event": "recipe changed", "step": step, "changes": changes})
        load_whole_state(self.network, state["network"], but=self._left_out)
        if self.config.run.parallel == "fsdp":
            _load_split_optimizer(self.network, self.optimizer, state["optimizer"])
        else:
            self.optimizer.load_state_dict(state["optimizer"])
        self.average = {name: split_like(state["average"][name], own) for name, own in self.average.items()}
        self.average = {name: value.to(self.processes.device) for name, value in self.average.items()}
        self.step = step
        self._helper_state = state.get("helpers", {})

    @property
    def _left_out(self) -> frozenset[str]:
        """Names that checkpoints leave out, because the file that the run began with has them."""
        start = self.trainee.start
        return self.constant if start is not None and start.path is not None else frozenset()

    def save(self) -> Path | None:
        """Write a checkpoint of the present state; all processes must call it, the first one writes."""
        if self.config.run.parallel == "fsdp":  # by names, so that the number of processes may change
            optimizer = _whole_optimizer(self.network, self.optimizer)
        else:
            optimizer = self.optimizer.state_dict()
        state = {
            "network": whole_state(self.network, but=self._left_out),
            "average": {name: whole(value) for name, value in self.average.items()},
            "optimizer": optimizer,
            "step": self.step,
            "rng": self._step_rng(0).get_state(),
            "config": json.dumps(asdict(self.config)),
            "helpers": self._whole_helpers(),
        }
        start = self.trainee.start
        if start is not None:
            state["start"] = {"word": start.word, "path": str(start.path or ""), "digest": start.digest}
        path = None
        if self.processes.is_first:
            path = save_checkpoint(self.folder, self.step, state, keep=self.config.run.keep_checkpoints)
        self.processes.wait()
        return path

    def run(self) -> None:
        """Train to the end of the last stage."""
        self.log({"event": "start", "step": self.step, "parameters": self._num_parameters(), **self._origin()})
        first, stream = 0, None
        for number, stage in enumerate(self.config.stage):
            if self.step < first + stage.steps:
                stream = stream or self._stream()
                data = self.config.data
                stream.cut_to(stage.num_frames or data.num_frames, stage.lq_crop or data.lq_crop)
                self._run_stage(number, stage, first, stream)
            first += stage.steps
        self.save()
        self.log({"event": "end", "step": self.step})
        self.records.close()

    def _origin(self) -> dict[str, Any]:
        start = self.trainee.start
        if start is None or start.path is None:
            return {}
        return {"from": start.path.name, "sha256": start.digest, "new_tensors": len(start.new)}

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def _stream(self) -> SampleStream:
        data, run, processes = self.config.data, self.config.run, self.processes
        sizes = {"clip_frames": data.clip_frames, "gt_size": data.gt_size}
        clips: ClipSource
        if data.pairs:
            clips = StoredPairs(data.pairs, data.cache, seed=self.config.seed, **sizes)
        else:
            source = SharpSource(
                data.videos or None,
                data.photos or None,
                data.cache,
                manifest=data.manifest or None,
                video_probability=data.video_probability,
                captions=data.captions or None,
            )
            source.prepare()
            clips = DegradedClips(source, data.degradation, seed=self.config.seed, **sizes)
        return SampleStream(
            clips,
            num_frames=min(data.num_frames, data.clip_frames),
            lq_crop=data.lq_crop,
            pool_size=data.pool_size,
            crops_per_clip=data.crops_per_clip,
            seed=self.config.seed,
            first_sample=self.step * data.batch * run.accumulate,
            rank=processes.rank,
            world=processes.world,
            workers=data.workers,
            caption_dropout=data.caption_dropout,
        )

    def _run_stage(self, number: int, stage: StageConfig, first: int, stream: SampleStream) -> None:
        self._prepare_stage(number, stage, first)
        data, run = self.config.data, self.config.run
        batches = stream.batches(data.batch)
        sums: dict[str, float] = {}
        began, waited, seen = time.monotonic(), 0.0, self.step
        while self.step < first + stage.steps:
            lr = learning_rate(stage, self.step - first)
            parts, waiting = self._train_step(stage, batches, lr)
            self.step += 1
            waited += waiting
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            if self.step % run.log_every == 0:
                spent = time.monotonic() - began
                means = self.processes.mean({name: value / run.log_every for name, value in sums.items()})
                pace = spent / (self.step - seen)
                self.log(
                    {
                        "step": self.step,
                        "stage": number,
                        "lr": lr,
                        "s_per_step": round(pace, 3),
                        "samples_per_s": round(data.batch * run.accumulate * self.processes.world / pace, 2),
                        "waiting_for_data": round(waited / spent, 3),
                        "memory_gb": peak_memory_gb(self.processes.device),
                        **{name: round(value, 5) for name, value in means.items()},
                    }
                )
                sums, began, waited, seen = {}, time.monotonic(), 0.0, self.step
            if self.step % run.save_every == 0:
                self.save()
            if self.step % run.validate_every == 0:
                self.log({"event": "validation", "step": self.step, **self.validate()})
                began, waited, seen = time.monotonic(), 0.0, self.step

    def _prepare_stage(self, number: int, stage: StageConfig, first: int) -> None:
        self.network.train()
        trained = choose_trained(self.network, stage)
        self.log({"event": "stage", "stage": number, "objective": stage.objective, "trained_tensors": len(trained)})
        if stage.zero_head and self.step == first:
            self._zero_head()
        self._prepare_helpers(number, stage)

    def _zero_head(self) -> None:
        """Set the last layer to zero, in the network, its average and the optimiser's memory."""
        for name, parameter in self.network.named_parameters():
            if name.startswith(HEAD_NAME):
                parameter.detach().zero_()
                self.average[name].zero_()
                self.optimizer.state.pop(parameter, None)

    def _prepare_helpers(self, number: int, stage: StageConfig) -> None:
        """Put teacher, score and critic beside the network, from the checkpoint if it is of this stage."""
        names = helper_names(stage)
        if names and self.is_split:
            raise OptionError('distillation and adversarial terms need run.parallel = "data"')
        stored = self._helper_state if self._helper_state.get("stage") == number else {}
        self.trainee.helpers, self._helper_optimizers, self.trainee.made = {}, {}, {}
        self._helper_state = {"stage": number}
        for name in names:
            helper = self._new_helper(name, stage)
            if name in stored:
                helper.load_state_dict(stored[name])
            helper.requires_grad_(name != "teacher")
            self.trainee.helpers[name] = helper
            if name != "teacher":
                optimizer = AdamW(helper.parameters(), lr=stage.adversary_lr, betas=(0.5, 0.99), weight_decay=0.0)
                if name in stored:
                    optimizer.load_state_dict(stored[f"{name}_optimizer"])
                self._helper_optimizers[name] = optimizer

    def _new_helper(self, name: str, stage: StageConfig) -> nn.Module:
        torch.manual_seed(self.config.seed)
        if name == "critic":
            return new_critic().to(self.processes.device)
        other = copy.deepcopy(self.network).requires_grad_(True)
        other.zero_grad(set_to_none=True)
        if stage.teacher:
            load_weights(other.unet if isinstance(other, CaptionedStar) else other, Path(stage.teacher))
        return other.eval() if name == "teacher" else other

    def _whole_helpers(self) -> dict[str, Any]:
        state = dict(self._helper_state)
        for name, helper in self.trainee.helpers.items():
            state[name] = helper.state_dict()
        for name, optimizer in self._helper_optimizers.items():
            state[f"{name}_optimizer"] = optimizer.state_dict()
        return state

    def _step_rng(self, part: int) -> torch.Generator:
        """Return a generator for one batch of the present step of this process."""
        words = np.random.SeedSequence((self.config.seed, self.processes.rank, self.step, part)).generate_state(2)
        seed = int(words[0]) << 31 | int(words[1]) >> 1
        torch.manual_seed(seed)  # dropout
        return self.rng.manual_seed(seed)

    def _train_step(self, stage: StageConfig, batches: Iterator[Batch], lr: float) -> tuple[Parts, float]:
        """Add up the gradients of ``accumulate`` batches and take one step; also returns seconds spent waiting."""
        objective, run = stage.objective, self.config.run
        if stage.velocity_every and self.step % stage.velocity_every == stage.velocity_every - 1:
            objective = "velocity"
        totals: Parts = {}
        waited = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for optimizer in self._helper_optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        names: list[str] = []
        for part in range(run.accumulate):
            asked = time.monotonic()
            batch = self._to_device(next(batches))
            waited += time.monotonic() - asked
            names += batch["name"]
            rng = self._step_rng(part)
            parts = OBJECTIVES[objective].compute(self.trainee, batch, stage, rng)
            loss = torch.stack(list(parts.values())).sum()
            self._check_finite(parts, loss, batch["name"])
            (loss / run.accumulate).backward()
            for name, loss in helper_losses(self.trainee, batch, stage, rng):
                parts[name] = loss
                (loss / run.accumulate).backward()
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value.detach() / run.accumulate
        self._take_step(stage, lr, names)
        suffix = "" if objective == stage.objective else "*"
        return {name + suffix: value for name, value in totals.items()}, waited

    def _take_step(self, stage: StageConfig, lr: float, names: list[str]) -> None:
        trained = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        if not self.is_split:
            self.processes.average_gradients(trained)
        norm = whole(torch.nn.utils.clip_grad_norm_(trained, self.config.run.clip_grad))
        if not torch.isfinite(norm):
            raise DataError(
                f"the gradient is not finite at step {self.step} (clips {', '.join(names)}): lower the learning rate; "
                "the checkpoint before is untouched"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr * (stage.head_lr_scale if group["is_head"] else 1.0)
        self.optimizer.step()
        for name, optimizer in self._helper_optimizers.items():
            parameters = [p for p in self.trainee.helpers[name].parameters() if p.grad is not None]
            self.processes.average_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, self.config.run.clip_grad)
            optimizer.step()
        self._update_average()

    def _to_device(self, batch: Batch) -> Batch:
        device = self.processes.device
        return Batch(lq=batch["lq"].to(device), gt=batch["gt"].to(device), caption=batch["caption"], name=batch["name"])

    def _check_finite(self, parts: Parts, loss: Tensor, names: list[str]) -> None:
        if torch.isfinite(loss):
            return
        named = ", ".join(f"{name} {float(value.detach()):g}" for name, value in parts.items())
        raise DataError(
            f"the loss is not finite at step {self.step} ({named}; clips {', '.join(names)}): lower the learning rate "
            "or look at these clips; the checkpoint before is untouched"
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.run.ema, (1 + self.step) / (10 + self.step))
        own = self.network.state_dict()
        for key, average in self.average.items():
            average.lerp_(own[key], 1 - decay)

    def validate(self) -> dict[str, float]:
        """Measure the averaged network on fixed samples."""
        if not hasattr(self, "_validation"):
            self._validation = validation_samples(self.config.data, self.config.run)
        if not self._validation:
            return {}
        trained = {key: value.clone() for key, value in self.network.state_dict().items() if key in self.average}
        self._swap(self.average)
        self.network.eval()
        run, videos = self.config.run, self.folder / "samples" / f"step-{self.step:08d}"
        shown = run.sample_videos if self.processes.is_first else 0
        values = validate(
            self.trainee,
            self._validation,
            self.measures,
            num_steps=run.validation_steps or self.trainee.validation_steps,
            videos=videos,
            num_videos=shown,
        )
        self._swap(trained)
        self.network.train()
        return values

    @torch.no_grad()
    def _swap(self, state: dict[str, Tensor]) -> None:
        own = self.network.state_dict()
        for name, value in state.items():
            own[name].copy_(value)

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to the run's log and print it."""
        self.records.write(values)


def learning_rate(stage: StageConfig, step: int) -> float:
    """Rise over the warm-up, then stay or fall to zero along a cosine."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.lr
    share = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * share))


def _whole_optimizer(network: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    return get_optimizer_state_dict(
        network, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )


def _load_split_optimizer(network: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    set_optimizer_state_dict(network, optimizer, state, options=StateDictOptions(full_state_dict=True))
