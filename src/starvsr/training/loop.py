"""The training loop: stages of steps over a stream of samples, with averages, checkpoints and validation.

Everything random in a step is a function of (seed, process, step): samples, noise, dropout. So a killed run resumes
from its checkpoint bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from starvsr.data.pool import Batch, SampleStream
from starvsr.errors import DataError, OptionError
from starvsr.training.auxiliary_networks import AuxiliaryNetworks
from starvsr.training.checkpoints import (
    checkpoint_path,
    latest_checkpoint,
    load_checkpoint,
    readable_folder,
    save_checkpoint,
)
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.distributed import (
    Processes,
    load_split_optimizer,
    load_whole_state,
    split_weights,
    whole,
    whole_optimizer_state,
    whole_state,
)
from starvsr.training.ema import MovingAverage
from starvsr.training.families import build_model
from starvsr.training.family import crop_of, start_of
from starvsr.training.freezing import choose_trained, constant_names
from starvsr.training.loaders import training_stream
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.objective import Losses
from starvsr.training.optimizer import build_optimizer, learning_rate
from starvsr.training.recipe import recipe_tree
from starvsr.training.recipe_diff import check_changes
from starvsr.training.run_log import RunLog, Tally, peak_memory_gb
from starvsr.training.validation import Validation


class Trainer:
    """Runs a recipe in a folder; a run in a folder with checkpoints goes on from the newest.

    Args:
        config: the recipe.
        folder: gets checkpoints and log.
        start_from: weights to begin with, of the same network, with or without the gates of LIEM, which otherwise
            start afresh; for a published model, in place of the recipe's ``init``.
        processes: the group that trains together; None for this process alone.
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
        allow_changes: bool = False,
    ) -> None:
        self.config, self.folder = config, folder
        self.processes = processes or Processes()
        folder.mkdir(parents=True, exist_ok=True)
        run = config.run
        self.records = RunLog(folder, is_first=self.processes.is_first, tensorboard=run.tensorboard, wandb=run.wandb)
        path = latest_checkpoint(folder)
        state = None if path is None else load_checkpoint(path)
        self.model = build_model(
            config, self.processes.device, start_from=start_from, begun=None if state is None else start_of(state)
        )
        self.network = self.model.network
        self.constant = constant_names(self.network, self.model.parts, config.stage)
        """Names of the parameters that no stage trains: they have no average of their own."""
        if run.parallel == "fsdp" and run.optimizer != "adamw":
            raise OptionError('run.parallel = "fsdp" needs run.optimizer = "adamw": Muon needs whole matrices')
        self.is_split = run.parallel == "fsdp" and self.processes.world > 1
        """Whether each process holds a share of the network; alone there is nothing to split."""
        if self.is_split:
            split_weights(self.network, self.model.blocks(), self.processes)
        else:
            self.network.to(self.processes.device)
        self.average = MovingAverage(self.network, but=self.constant)
        self.step = 0
        self.rng = torch.Generator()
        self.optimizer = build_optimizer(self.network, self.model.parts, run)
        self.auxiliary = AuxiliaryNetworks(self.model, seed=config.seed, device=self.processes.device)
        self._validation = Validation(config, self.model, self.average)
        if state is not None:
            self._resume(state, allow_changes)

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.config.stage)

    def _resume(self, state: dict[str, Any], allow_changes: bool) -> None:
        old, step = json.loads(state["config"]), state["step"]
        changes = check_changes(self.folder, self.config, old, step, allow=allow_changes)
        if changes:
            self.log({"event": "recipe changed", "step": step, "changes": changes})
        load_whole_state(self.network, state["network"], but=self._left_out)
        if self.config.run.parallel == "fsdp":
            load_split_optimizer(self.network, self.optimizer, state["optimizer"])
        else:
            self.optimizer.load_state_dict(state["optimizer"])
        self.average.load(state["average"])
        self.step = step
        self.auxiliary.load_state_dict(state.get("helpers", {}))

    @property
    def _left_out(self) -> frozenset[str]:
        """Names that checkpoints leave out, because the file that the run began with has them."""
        start = self.model.start
        return self.constant if start is not None and start.path is not None else frozenset()

    def save(self) -> Path | None:
        """Write a checkpoint of the present state; all processes must call it, the first one writes."""
        if self.config.run.parallel == "fsdp":  # by names, so that the number of processes may change
            optimizer = whole_optimizer_state(self.network, self.optimizer)
        else:
            optimizer = self.optimizer.state_dict()
        average = self.average.whole()
        state = {
            "network": whole_state(self.network, but=self._left_out),
            "average": average,
            "optimizer": optimizer,
            "step": self.step,
            "rng": self._step_rng(0).get_state(),
            "config": json.dumps(recipe_tree(self.config)),
            "helpers": self.auxiliary.state_dict(),
        }
        start = self.model.start
        if start is not None:
            state["start"] = {"word": start.word, "path": str(start.path or ""), "digest": start.digest}
        path = None
        if self.processes.is_first:
            self.model.save_readable(readable_folder(checkpoint_path(self.folder, self.step)), average)
            path = save_checkpoint(self.folder, self.step, state, keep=self.config.run.keep_checkpoints)
        self.processes.wait()
        return path

    def run(self) -> None:
        """Train to the end of the last stage.

        Raises:
            OptionError, WeightsError: a stage to come needs a network whose file or package is missing.
        """
        self._check_networks()
        self.log({"event": "start", "step": self.step, "parameters": self._num_parameters(), **self._origin()})
        first, stream = 0, None
        for number, stage in enumerate(self.config.stage):
            if self.step < first + stage.steps:
                if stream is None:
                    stream = self._stream()
                    self.processes.wait()  # for the first one, which may have captions to read
                data = self.config.data
                stream.cut_to(*crop_of(self.config, stage), data.lq_width)
                self._run_stage(number, stage, first, stream)
            first += stage.steps
        self.save()
        self.log({"event": "end", "step": self.step})
        self.records.close()

    def _check_networks(self) -> None:
        """Refuse, before any step, what a stage to come would fail on."""
        last = 0
        for stage in self.config.stage:
            last += stage.steps
            if self.step < last:
                for wanted in OBJECTIVES[stage.objective].auxiliary(stage.tables):
                    wanted.check()

    def _origin(self) -> dict[str, Any]:
        start, grown = self.model.start, self.model.grown
        if start is None or start.path is None:
            return {"widened": {name: list(sizes) for name, sizes in grown.items()}} if grown else {}
        return {"from": start.path.name, "sha256": start.digest, "new_tensors": len(start.new)}

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def _stream(self) -> SampleStream:
        stream = training_stream(self.config, self.processes, self.step)
        if self.model.reads_ahead and self.processes.is_first:
            self.model.read_captions(stream.clips.captions())
        return stream

    def _run_stage(self, number: int, stage: StageConfig, first: int, stream: SampleStream) -> None:
        self._prepare_stage(number, stage, first)
        data, run, objective = self.config.data, self.config.run, OBJECTIVES[stage.objective]
        stream.add_examples(objective.examples(self.model, stage.tables, self.auxiliary.networks))
        batches = stream.batches(data.batch)
        tally = Tally(self.step)
        while self.step < first + stage.steps:
            lr = learning_rate(stage, self.step - first)
            losses, waiting = self._train_step(stage, batches, lr)
            self.step += 1
            tally.add(losses, waiting)
            if self.step % run.log_every == 0:
                pace = tally.pace(self.step, data.batch * run.accumulate * self.processes.world)
                means = self.processes.mean({name: value / run.log_every for name, value in tally.sums.items()})
                self.log(
                    {
                        "step": self.step,
                        "stage": number,
                        "lr": lr,
                        **pace,
                        "memory_gb": peak_memory_gb(self.processes.device),
                        **{name: round(value, 5) for name, value in means.items()},
                    }
                )
                tally = Tally(self.step)
            if self.step % run.save_every == 0:
                self.save()
            if self.step % run.validate_every == 0:
                self.log({"event": "validation", "step": self.step, **self.validate()})
                tally.restart_clock(self.step)

    def _prepare_stage(self, number: int, stage: StageConfig, first: int) -> None:
        self.network.train()
        trained = choose_trained(self.network, self.model.parts, stage)
        self.log({"event": "stage", "stage": number, "objective": stage.objective, "trained_tensors": len(trained)})
        if (stage.zero_head or stage.head_lr_scale != 1) and not self.model.parts.head:
            raise OptionError(
                f"{self.model.name} has no last layer of its own kind: leave out zero_head, head_lr_scale"
            )
        if stage.zero_head and self.step == first:
            self._zero_head()
        wanted = OBJECTIVES[stage.objective].auxiliary(stage.tables)
        if wanted and self.is_split:
            raise OptionError('distillation and adversarial terms need run.parallel = "data"')
        self.auxiliary.prepare(number, wanted)

    def _zero_head(self) -> None:
        """Set the last layer to zero, in the network, its average and the optimiser's memory."""
        for name in self.model.parts.head_names(self.network):
            parameter = self.network.get_parameter(name)
            parameter.detach().zero_()
            self.average.tensors[name].zero_()
            self.optimizer.state.pop(parameter, None)

    def _step_rng(self, part: int) -> torch.Generator:
        """Return a generator for one batch of the present step of this process."""
        words = np.random.SeedSequence((self.config.seed, self.processes.rank, self.step, part)).generate_state(2)
        seed = int(words[0]) << 31 | int(words[1]) >> 1
        torch.manual_seed(seed)  # dropout
        return self.rng.manual_seed(seed)

    def _train_step(self, stage: StageConfig, batches: Iterator[Batch], lr: float) -> tuple[Losses, float]:
        """Add up the gradients of ``accumulate`` batches and take one step; also returns seconds spent waiting."""
        run, (objective, tables) = self.config.run, stage.objective_at(self.step)
        totals: Losses = {}
        waited = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        self.auxiliary.zero_grad()
        names: list[str] = []
        for part in range(run.accumulate):
            asked = time.monotonic()
            batch = self._to_device(next(batches))
            waited += time.monotonic() - asked
            names += batch["name"]
            rng = self._step_rng(part)
            output = OBJECTIVES[objective].compute(self.model, batch, tables, self.auxiliary.networks, rng)
            losses = dict(output.losses)
            loss = torch.stack(list(losses.values())).sum()
            self._check_finite(losses, loss, batch["name"])
            (loss / run.accumulate).backward()
            for name, compute in output.auxiliary_losses.items():
                losses[name] = compute()
                (losses[name] / run.accumulate).backward()
            for name, value in losses.items():
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
        self.auxiliary.step(self.processes.average_gradients, self.config.run.clip_grad)
        self.average.update(self.step, self.config.run.ema)

    def _to_device(self, batch: Batch) -> Batch:
        device = self.processes.device
        moved = batch.copy()
        moved["lq"], moved["gt"] = batch["lq"].to(device), batch["gt"].to(device)
        if "example" in batch:
            moved["example"] = batch["example"].to(device)
        return moved

    def _check_finite(self, losses: Losses, loss: Tensor, names: list[str]) -> None:
        if torch.isfinite(loss):
            return
        named = ", ".join(f"{name} {float(value.detach()):g}" for name, value in losses.items())
        raise DataError(
            f"the loss is not finite at step {self.step} ({named}; clips {', '.join(names)}): lower the learning rate "
            "or look at these clips; the checkpoint before is untouched"
        )

    def validate(self) -> dict[str, float]:
        """Measure the averaged network on fixed samples."""
        videos = self.folder / "samples" / f"step-{self.step:08d}" if self.processes.is_first else None
        return self._validation.measure(videos)

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to the run's log and print it."""
        self.records.write(values)
