"""What training asks of a family before a model is built and after it is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from starvsr.errors import DataError
from starvsr.families.entry import Entry
from starvsr.models.weights import save_weights
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.model import Start, TrainingModel
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.sketch import StageSketch

Spec = TypeVar("Spec", bound=Entry)


class TrainingFamily(ABC, Generic[Spec]):
    """How the models of a family are trained: one subclass for each, listed in :mod:`starvsr.training.families`.

    Args:
        entry: The model's entry in the registry.
    """

    model: ClassVar[type[TrainingModel]]
    """Kind of model that :meth:`build` makes; it decides which objectives there are."""
    reads_published: ClassVar[bool] = False
    """Whether recipes name published weights (`init`, `models`)."""
    has_ends: ClassVar[bool] = False
    """Whether two trainings can be exported into one file, for `upscale --detail`."""
    writes_folder: ClassVar[bool] = False
    """Whether exports are model folders and not files."""
    is_part: ClassVar[bool] = False
    """Whether they are one folder inside a model folder, of the name :attr:`weights_name`."""
    takes_wide_crops: ClassVar[bool] = False
    """Whether samples need not be squares."""
    has_lora: ClassVar[bool] = False
    """Whether what was trained can be exported alone, as LoRA beside frozen weights."""
    weights_option: ClassVar[str] = "--weights"
    """Option of `starvsr upscale` that takes exports."""

    def __init__(self, entry: Spec) -> None:
        self.entry = entry

    @abstractmethod
    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> TrainingModel:
        """Build what a recipe trains.

        Args:
            config: the recipe, checked.
            device: where it computes. Under FSDP the network stays where its file is mapped until it is split.
            start_from: weights to begin with, in place of the recipe's.
            begun: what the run that goes on began with.

        Raises:
            DataError: sizes that the network does not have, or a start that has changed.
            WeightsError: weights that are missing, damaged or of another model.
        """

    @abstractmethod
    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Return a stage on the meta device, for a memory plan."""

    @property
    def weights_name(self) -> str:
        """File name that exported weights get."""
        return f"{self.entry.name}.safetensors"

    @property
    def upscale_words(self) -> str:
        """Options that `starvsr upscale` needs beside the weights."""
        return f" --model {self.entry.name}"

    def exported(self, tensors: dict[str, Tensor], config: TrainConfig, start: Start | None) -> Mapping[str, Tensor]:
        """Return what a file of weights holds.

        Args:
            tensors: of a checkpoint, by the names of the training network.
            config: the run's recipe.
            start: what the run began with, where checkpoints leave out what never trains.

        Raises:
            WeightsError: the start's file is gone or damaged.
            DataError: it is another file, or the checkpoint is incomplete.
        """
        return tensors

    def write(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write exported weights.

        Args:
            path: a file, or the folder of a family that writes model folders.
            tensors: see :meth:`exported`.
            config: the run's recipe.
            start: see :meth:`exported`.
            metadata: of the file.

        Returns:
            The file that holds what was trained.

        Raises:
            WeightsError: what the run began with is gone or damaged.
            DataError: it is something else.
        """
        save_weights(tensors, path, dtype=torch.float16, metadata=metadata)
        return path

    def write_lora(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write what was trained alone, for families with ``has_lora``.

        Args:
            path: the file.
            tensors: what a checkpoint holds.
            config: the run's recipe.
            start: see :meth:`exported`.
            metadata: of the file.

        Raises:
            DataError: the run trained something else than LoRA beside frozen weights.
        """
        raise NotImplementedError

    def check(self, config: TrainConfig) -> None:
        """Refuse what this family does not have.

        Raises:
            DataError: published weights, crops that are no squares, or an objective that needs another kind of model.
        """
        if (config.init or config.models) and not self.reads_published:
            raise DataError(
                "recipe keys init and models are for models with published weights: begin with --start-from and a file"
            )
        if config.data.lq_width < 0:
            raise DataError(f"recipe key data.lq_width must be a width, or 0 for squares, not {config.data.lq_width}")
        if config.data.lq_width and not self.takes_wide_crops:
            raise DataError(f"recipe key data.lq_width: {config.model} trains on squares; leave the key out")
        objectives = [name for name, one in OBJECTIVES.items() if issubclass(self.model, one.model)]
        for stage in config.stage:
            if stage.objective not in objectives:
                named = " or ".join(f'"{name}"' for name in objectives) + " alone" * (len(objectives) == 1)
                raise DataError(f"{config.model} is trained by objective = {named}, not {stage.objective!r}")


def autocast_of(config: TrainConfig) -> torch.dtype | None:
    """Return the type that a recipe's network computes in under autocast; None for float32."""
    return torch.bfloat16 if config.run.precision == "bf16" else None


def crop_of(config: TrainConfig, stage: StageConfig) -> tuple[int, int]:
    """Return the frames and the side of a low-quality crop of a stage."""
    return stage.num_frames or config.data.num_frames, stage.lq_crop or config.data.lq_crop


def start_of(state: Mapping[str, Any]) -> Start | None:
    """Return what the run of a checkpoint began with; None where its checkpoints hold everything."""
    begun = state.get("start")
    if begun is None:
        return None
    return Start(begun["word"], Path(begun["path"]) if begun["path"] else None, begun["digest"])
