"""The log of a run: a line of JSON per event, and TensorBoard or Weights & Biases on request."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from starvsr.errors import OptionError


class RunLog:
    """Writes ``log.jsonl``, prints the lines and passes numbers to the boards; silent in all but the first process."""

    def __init__(self, folder: Path, *, is_first: bool = True, tensorboard: bool = False, wandb: str = "") -> None:
        """Open what was asked for.

        Raises:
            OptionError: TensorBoard or Weights & Biases is not installed.
        """
        self.folder, self.is_first = folder, is_first
        self._board = _tensorboard(folder) if tensorboard and is_first else None
        self._wandb = _wandb(folder, wandb) if wandb and is_first else None

    def write(self, values: dict[str, Any]) -> None:
        """Append one event; numbers of events with a step also go to the boards."""
        if not self.is_first:
            return
        line = json.dumps({"time": time.strftime("%H:%M:%S"), **values})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        step = values.get("step")
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and k not in ("step", "stage")}
        if step is None or not numbers:
            return
        group = values.get("event", "train")
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"{group}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{group}/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Close the boards."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


class Tally:
    """Adds up losses and times from one line of the log to the next.

    Args:
        step: Steps taken when it begins.
    """

    def __init__(self, step: int) -> None:
        self.sums: dict[str, float] = {}
        self.restart_clock(step)

    def restart_clock(self, step: int) -> None:
        """Count time and steps anew, after something that is no training; sums of losses stay."""
        self._began, self._waited, self._step = time.monotonic(), 0.0, step

    def add(self, losses: Mapping[str, Tensor], waited: float) -> None:
        """Add a step: its losses by name, and the seconds that it waited for data."""
        self._waited += waited
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def pace(self, step: int, samples_per_step: int) -> dict[str, float]:
        """Return seconds per step, samples per second and the share of time spent waiting, at a later step."""
        spent = time.monotonic() - self._began
        per_step = spent / (step - self._step)
        return {
            "s_per_step": round(per_step, 3),
            "samples_per_s": round(samples_per_step / per_step, 2),
            "waiting_for_data": round(self._waited / spent, 3),
        }


def peak_memory_gb(device: torch.device | str) -> float:
    """Return the peak memory of the device, or the present one of the process on a CPU, in GB (10^9 bytes)."""
    kind = torch.device(device)
    if kind.type == "cpu":
        return round(psutil.Process().memory_info().rss / 1e9, 2)
    return round(torch.get_device_module(kind).max_memory_allocated(kind) / 1e9, 2)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise OptionError("run.tensorboard needs the package tensorboard: pip install 'starvsr[train]'") from error
    return SummaryWriter(str(folder / "tensorboard"))


def _wandb(folder: Path, project: str) -> Any:
    try:
        wandb = import_module("wandb")
    except ImportError as error:
        raise OptionError("run.wandb needs the package wandb: pip install wandb, or leave it empty") from error
    return wandb.init(project=project, dir=str(folder), name=folder.name)
