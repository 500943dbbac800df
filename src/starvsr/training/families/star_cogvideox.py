"""Training of STAR on CogVideoX: LoRA on the attention, LIEM, patch embedding and last layers; all else is frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import DataError, OptionError
from starvsr.families.star_cogvideox.preprocess import MULTIPLE_PX
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.families.star_cogvideox.tiles import CELL_PX, FRAMES_PER_LATENT, latent_count
from starvsr.families.star_cogvideox.upscaler import SCALES
from starvsr.models.cogvideox.stock import PATCH
from starvsr.training.caption_features import CaptionFeatures
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families.star_cogvideox_export import write_lora, write_merged
from starvsr.training.families.star_cogvideox_memory import decoding_bytes, vae_bytes, vae_sizes
from starvsr.training.families.star_cogvideox_parts import (
    check_stages,
    check_start_trains,
    find_parts,
    load_fixed_vae,
    load_network,
    sizes_of,
    whole_tensors,
)
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.freezing import cast_parameters, constant_names
from starvsr.training.model import Start
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.parts import NamedParts
from starvsr.training.sketch import Checkpoint, StageSketch
from starvsr.training.star_cogvideox import (
    PREFIX,
    ClipCodec,
    StarCogVideoXModel,
    TrainedCogVideoX,
    network_schedule,
)

USED = ("star-lora", "velocity")
"""Objectives; they differ in what trains unless a stage says it."""
VALIDATION_STEPS = 20
_PIECE_FRAMES = 8
"""Frames that the decoder takes at a time."""


def _begins(*words: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(tuple(PREFIX + word for word in words))


def _is_lora(name: str) -> bool:
    return ".lora_" in name


def _is_gate(name: str) -> bool:
    return ".spa_local." in name or ".temp_local." in name


_is_patch = _begins("patch_embed.proj.")
_is_final = _begins("norm_final.", "norm_out.", "proj_out.")


def _is_base(name: str) -> bool:
    return not (_is_lora(name) or _is_gate(name) or _is_patch(name) or _is_final(name))


PARTS = NamedParts(
    parts={"lora": _is_lora, "liem": _is_gate, "patch": _is_patch, "final": _is_final, "base": _is_base},
    head=f"{PREFIX}proj_out.",
)


class StarCogVideoXTraining(TrainingFamily[StarCogVideoXSpec]):
    """star-cogvideox-5b and -2b, from CogVideoX, from the published STAR, or from another run."""

    model = StarCogVideoXModel
    reads_published = True
    writes_folder = True
    has_lora = True
    takes_wide_crops = True

    def check(self, config: TrainConfig) -> None:
        """Refuse what the family does not have; see the base class."""
        for stage in config.stage:
            if stage.objective not in USED:
                named = " or ".join(f'"{name}"' for name in USED)
                raise DataError(f"{config.model} is trained by objective = {named}, not {stage.objective!r}")
        super().check(config)
        if config.data.dropped_caption != "empty":
            raise DataError(
                f"recipe key data.dropped_caption: zeros stand for a caption that {config.model} is trained without, "
                "as in `starvsr upscale`: leave the key out"
            )
        for number, stage in enumerate(config.stage):
            frames, pieces = crop_of(config, stage)[0], stage.tables.decode_slice
            if frames % FRAMES_PER_LATENT != 1:
                below = max(1, frames - (frames - 1) % FRAMES_PER_LATENT)
                raise DataError(
                    f"stage {number}: {frames} frames, and the causal VAE takes a multiple of {FRAMES_PER_LATENT} plus "
                    f"1: set num_frames to {below} or {below + FRAMES_PER_LATENT}"
                )
            if pieces not in (0, _PIECE_FRAMES):
                raise DataError(
                    f"recipe key stage.{number}.velocity.decode_slice = {pieces}: the causal decoder takes "
                    f"{_PIECE_FRAMES} frames at a time; {_PIECE_FRAMES} recomputes them piece by piece, 0 keeps all"
                )
        known = {"all", *PARTS.parts}
        unknown = [word for stage in config.stage for word in stage.trained_parts if word not in known]
        if unknown:
            raise OptionError(f"unknown part {unknown[0]!r} in trains: choose from all, {', '.join(PARTS.parts)}")
        check_stages(config, sizes_of(self.entry, config))

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> StarCogVideoXModel:
        """Build the network and load the parts beside it; what never trains is one copy that no optimiser knows."""
        word = config.init if start_from is None else str(start_from.resolve())
        word, digest = (word, None) if begun is None else (begun.word, begun.digest)
        sizes, found = sizes_of(self.entry, config), find_parts(self.entry, config, word)
        network, start = load_network(self.entry, sizes, found, word, seed=config.seed, digest=digest)
        patch_is_new = start.path is not None and not _reads_hint(network, sizes.out_channels)
        check_start_trains(start, [stage.trained_parts for stage in config.stage], patch_is_new)
        constant = constant_names(network, PARTS, config.stage)
        network.requires_grad_(True)
        autocast = autocast_of(config)
        place = "cpu" if config.run.parallel == "fsdp" else device
        cast_parameters(network, constant if start.path else (), place, autocast or torch.float32)
        for name in constant:
            network.get_parameter(name).requires_grad_(False)
        network.transformer.gradient_checkpointing = config.run.activation_checkpointing
        steps = CogVideoXSchedule(1.0 if sizes.use_rotary_positional_embeddings else 3.0)
        features = CaptionFeatures(found.files, device, Path(config.data.cache) / "captions", sizes.text_embed_dim)
        return StarCogVideoXModel(
            name=self.entry.name,
            scale=SCALES[-1],
            network=network,
            parts=PARTS,
            codec=ClipCodec(load_fixed_vae(found.files, sizes, config, device), device),
            schedule=network_schedule(steps),
            steps=steps,
            texts=features,
            read_ahead=features.prepare,
            autocast=autocast,
            validation_steps=VALIDATION_STEPS,
            start=start,
        )

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage: latents are an eighth of the ground truth in size and a quarter in length."""
        sizes, (num_frames, height) = sizes_of(self.entry, config), crop_of(config, stage)
        cells = _cells(height), _cells(config.data.lq_width or height)
        vae = vae_sizes(config, sizes)
        decoded = 0
        if OBJECTIVES[stage.objective].decodes(stage.tables):
            decoded = decoding_bytes(
                vae,
                latent_count(num_frames),
                cells,
                recompute_pieces=bool(stage.tables.decode_slice),
                recompute_blocks=config.run.activation_checkpointing,
                in_bfloat16=config.run.codec_precision == "bf16",
            )
        with torch.device("meta"):
            network = TrainedCogVideoX(sizes)
            latents = torch.empty(1, sizes.out_channels, latent_count(num_frames), *cells)
            text = torch.empty(1, sizes.max_text_seq_length, sizes.text_embed_dim)
            t = torch.zeros(1, dtype=torch.long)
        return StageSketch(
            network=network,
            parts=PARTS,
            inputs=(latents, t, latents, text),
            blocks=list(network.transformer.transformer_blocks),
            recompute=partial(_recompute, network),
            halves_constant=True,
            fixed=vae_bytes(vae, config.run.codec_precision == "bf16"),
            decoding=decoded,
        )

    @property
    def weights_name(self) -> str:
        """Name of the model folder that an export writes."""
        return self.entry.name

    def exported(self, tensors: dict[str, Tensor], config: TrainConfig, start: Start | None) -> Mapping[str, Tensor]:
        """Return all tensors by the names of the transformer, LoRA apart; see the base class."""
        begun = start or Start()
        parts = find_parts(self.entry, config, begun.word)
        return whole_tensors(self.entry, sizes_of(self.entry, config), parts, begun, tensors, config.seed)

    def write(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write a model folder with LoRA merged, and the frozen parts beside it; see the base class."""
        parts = find_parts(self.entry, config, (start or Start()).word)
        return write_merged(path, self.entry, sizes_of(self.entry, config), tensors, parts)

    def write_lora(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write what was trained alone; see the base class."""
        sizes = sizes_of(self.entry, config)
        own = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
        trained = any("base" in stage.trained_parts or "all" in stage.trained_parts for stage in config.stage)
        if start is None or start.path is None or not sizes.lora_rank or trained:
            raise DataError("this run has no LoRA beside a frozen CogVideoX: leave out --lora, for the whole model")
        parts = find_parts(self.entry, config, start.word)
        if parts.base is not None:
            raise DataError(f"this run began with {start.path}, a LoRA itself: leave out --lora, for the whole model")
        return write_lora(path, own, sizes, start, metadata)


def _cells(lq_side: int) -> int:
    """Return the latent cells of a side, which whole tokens cover."""
    return MULTIPLE_PX * -(-lq_side * SCALES[-1] // MULTIPLE_PX) // CELL_PX


def _reads_hint(network: TrainedCogVideoX, channels: int) -> bool:
    """Whether the patch embedding has weights for the low-quality latents."""
    weight: Any = network.transformer.state_dict()[PATCH]
    return bool(weight[:, channels:].any())


def _recompute(network: TrainedCogVideoX, checkpoint: Checkpoint) -> None:
    transformer: Any = network.transformer
    transformer.gradient_checkpointing, transformer.checkpoint = True, checkpoint
