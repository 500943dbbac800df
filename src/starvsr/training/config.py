"""Training recipes as frozen dataclasses; :mod:`starvsr.training.recipe` reads them from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.tables import StageTables


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how samples are cut."""

    videos: str = ""
    """Folder of sharp videos."""
    photos: str = ""
    """Folder of sharp photos."""
    pairs: str = ""
    """Folder of stored pairs (gt, lq, text; or REDS), in the place of videos, photos and degradation."""
    leave_out: tuple[str, ...] = ()
    """Names of stored pairs that are not trained on, such as those of REDS4."""
    turns: Literal["all", "horizontal"] = "all"
    """How samples are turned at random: flips, transposes and time reversal, or left and right exchanged alone."""
    captions: str = ""
    """Folder with NAME.txt for each sharp clip; empty looks beside the clip."""
    caption_dropout: float = 0.5
    """Share of samples that are trained without their caption (STAR's 0.5); star-small reads none."""
    dropped_caption: Literal["empty", "negative"] = "empty"
    """What is read without a caption: the empty text (STAR's), or the negative prompt of `starvsr upscale`."""
    workers: int = 1
    """Processes that make clips, for each training process."""
    manifest: str = ""
    """CSV with `sharp_scale` notes, or empty."""
    validation_videos: str = ""
    """Folder of sharp videos that are only measured on; empty leaves validation out."""
    cache: str = "runs/cache"
    """Folder for decoded frames."""
    degradation: str = "mixed"
    gray_probability: float = 0.0
    """Share of clips that are turned gray before they are degraded."""
    defocus_probability: float = 0.0
    """Share of clips of which part is put out of focus before they are degraded; what a lens left soft is to stay."""
    drawn_probability: float = 0.0
    """Share of clips that are drawn, not cut from videos and photos: even areas, outlines and letters, on which haloes
    and ghost lines show."""
    video_probability: float = 0.5
    video_reduction: float = 2.0
    """Largest number of video pixels per ground-truth pixel, along each side; half of the cuts are at full size. The
    more, the sharper the ground truth; `gt_size` limits it to what the clip has."""
    photo_reduction: float = 1.4
    """Largest number of photo pixels per ground-truth pixel, along each side, drawn evenly from 1."""
    num_frames: int = 5
    lq_crop: int = 48
    """Side of a low-quality crop."""
    lq_width: int = 0
    """Its width where that is not its height; 0 is a square."""
    clip_frames: int = 9
    gt_size: int = 320
    pool_size: int = 64
    crops_per_clip: int = 16
    batch: int = 4


@dataclass(frozen=True)
class StageConfig:
    """What all stages have; docs/training.md explains each objective and loss.

    Tables of the stage's objective follow in the recipe (`[stage.losses]`, ...): see
    :mod:`starvsr.training.objectives.tables`.
    """

    objective: str
    steps: int
    trains: str = ""
    """Parts that train, separated by commas, by the names that the family gives them; empty is the objective's
    choice."""
    lr: float = 1e-3
    warmup: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: fall to zero along a cosine, or stay (a following stage then lets it fall)."""
    num_frames: int = 0
    """Frames of a sample in this stage; 0 takes the data section's."""
    lq_crop: int = 0
    """Side of a low-quality crop in this stage; 0 takes the data section's."""
    head_lr_scale: float = 1.0
    """Factor on the learning rate of the last layer, whose steps move the brightness of the whole picture."""
    zero_head: bool = False
    """Start the stage with a zero last layer: for one-step training that is "give the enlarged input back"."""
    tables: Any = None
    """The objective's tables, of the kind that :data:`OBJECTIVES` names; None takes their defaults."""

    def __post_init__(self) -> None:
        """Fill in the tables."""
        if self.tables is None:
            object.__setattr__(self, "tables", OBJECTIVES[self.objective].tables())

    @property
    def trained_parts(self) -> list[str]:
        """Names of the parts that train."""
        return [word.strip() for word in (self.trains or OBJECTIVES[self.objective].trains).split(",")]

    def objective_at(self, step: int) -> tuple[str, StageTables]:
        """Return the objective of a step of the run and its tables: now and then a velocity step in between."""
        every = self.tables.velocity_every
        if every and step % every == every - 1:
            return "velocity", self.tables.between()
        return self.objective, self.tables

    @property
    def teaches_all_levels(self) -> bool:
        """Whether what this stage leaves can be sampled from noise in several steps."""
        return OBJECTIVES[self.objective].teaches_all_levels or bool(self.tables.velocity_every)


@dataclass(frozen=True)
class RunConfig:
    """How the run is carried out."""

    ema: float = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    codec_precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the VAE's decoder, through which pixel losses are derived; its encoder stays in float32."""
    clip_grad: float = 1.0
    """Largest norm of the gradient of all trained parameters together."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon with Adam for vectors, or AdamW for everything (STAR's, and the one for sharded training)."""
    weight_decay: float = 0.0
    accumulate: int = 1
    """Batches whose gradients are added up before one step."""
    parallel: Literal["data", "fsdp"] = "data"
    """With several processes: a copy of everything in each, or weights, gradients and optimiser split (FSDP)."""
    activation_checkpointing: bool = False
    """Recompute each block in the backward pass instead of keeping what is inside it."""
    log_every: int = 20
    save_every: int = 250
    keep_checkpoints: int = 2
    validate_every: int = 500
    validation_samples: int = 24
    validation_steps: int = 0
    """Steps that a validation sample takes; 0 is one for star-small and 14 for the published models."""
    validation_metrics: tuple[str, ...] = ()
    """Metrics measured beside PSNR and SSIM, by the names of `starvsr.metrics.registry`; mean over frames, 8 px of each
    border left out."""
    sample_videos: int = 0
    """Validation samples written as videos (input enlarged, result, ground truth side by side)."""
    tensorboard: bool = False
    wandb: str = ""
    """Name of a Weights & Biases project; empty leaves it out."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe."""

    stage: tuple[StageConfig, ...]
    model: str = "star-small"
    seed: int = 0
    init: str = ""
    """What a published model starts from: "venhancer", "star-light", "star-heavy" or a file; "" draws fresh weights."""
    models: str = ""
    """Folder looked into for published weights before all else, as STARVSR_MODELS is ("" takes that)."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of the network that differ from the model's, by their names in the family's configuration."""
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)
