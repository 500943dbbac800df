"""Training of STAR at its published size, on the latents of the VAE and with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from starvsr.diffusion.denoiser import Predict, guided
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.imaging.frames import pad_reflect
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.text.clip_encoder import TextTower
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae
from starvsr.padding import minimal_padding
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families.star import STAR_PARTS, recompute_blocks, star_blocks
from starvsr.training.families.star_i2vgen_parts import (
    CaptionedStar,
    CaptionReader,
    default_prompts,
    find_parts,
    is_matrix,
    load_codec,
    load_network,
    load_reader,
    whole_tensors,
)
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.freezing import cast_parameters, constant_names
from starvsr.training.model import DiffusionModel, Start
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import with_changes
from starvsr.training.sketch import Checkpoint, StageSketch, kept_bytes

_LATENT_CELL_PX = 8
_TEXT_TOKENS = 77


@dataclass(kw_only=True)
class StarI2VGenModel(DiffusionModel):
    """:class:`CaptionedStar` with VAE and text tower."""

    codec: TemporalVaeCodec
    reader: CaptionReader
    prompts: tuple[str, str]
    """Texts that samples are made with, wanted and unwanted."""

    def encode(self, pixels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Encode pixels, bordered by their reflection to whole cells and the sizes that the network takes."""
        codec = self.codec
        with torch.no_grad():
            border = minimal_padding(*pixels.shape[-2:], cell_px=codec.factor)
            height, width = border.padded_size(*pixels.shape[-2:])
            shape = (len(pixels), codec.channels, pixels.shape[2], height // codec.factor, width // codec.factor)
            draws = None if rng is None else torch.randn(shape, generator=rng).to(pixels.device)
            return codec.encode(pad_reflect(pixels, border), draws)

    def context(self, captions: Sequence[str | None]) -> tuple[Tensor, ...]:
        """Return text features [B, 77, D]."""
        return (self.reader(captions),)

    def levels(self, num_steps: int) -> Tensor:
        """Return the noise levels of the pipeline."""
        return Sampling().levels(self.schedule, num_steps)

    def predict(self, hint: Tensor) -> Predict:
        """Return the prediction guided as the pipeline's is."""
        wanted, unwanted = (self._reading(text, hint) for text in self.prompts)
        return guided(wanted, unwanted, scale=Sampling.guidance, rescale=Sampling.rescale)

    def load(self, network: nn.Module, path: Path) -> None:
        """Fill a network from a file with the published names."""
        super().load(network.get_submodule("unet"), path)

    def blocks(self) -> list[nn.Module]:
        """List the blocks with weights of their own."""
        return star_blocks(self.network)


class StarI2VGenTraining(TrainingFamily[StarI2VGenSpec]):
    """star-light and star-heavy, from VEnhancer, from published weights or from another run."""

    model = StarI2VGenModel
    reads_published = True

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> StarI2VGenModel:
        """Build the network and load the parts beside it; what never trains is one copy that no optimiser knows."""
        word = config.init if start_from is None else str(start_from.resolve())
        word, digest = (word, None) if begun is None else (begun.word, begun.digest)
        files = find_parts(config, word)
        network, start = load_network(self._sizes(config), word, files.get("unet"), seed=config.seed, digest=digest)
        constant = constant_names(network, STAR_PARTS, config.stage)
        network.requires_grad_(True)
        autocast = autocast_of(config)
        place = "cpu" if config.run.parallel == "fsdp" else device
        cast_parameters(network, constant if start.path else (), place, autocast or torch.float32)
        for name in constant:
            network.get_parameter(name).requires_grad_(False)
        if config.run.activation_checkpointing:
            recompute_blocks(network)
        reader = load_reader(files, config, device)
        return StarI2VGenModel(
            name=self.entry.name,
            scale=self.entry.scale,
            network=network,
            parts=STAR_PARTS,
            codec=load_codec(files, config, device),
            reader=reader,
            prompts=default_prompts(reader),
            autocast=autocast,
            enlarge_mode=self.entry.enlarge,
            one_step_timestep=self.entry.one_step_timestep,
            validation_steps=FAST_STEPS,
            start=start,
        )

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage: latents are an eighth of the ground truth in size."""
        unet, (num_frames, side) = self._sizes(config), crop_of(config, stage)
        height = width = side * self.entry.scale // _LATENT_CELL_PX
        height += (2 - height) % unet.row_step
        width += -width % unet.row_step
        decoded = 0
        if OBJECTIVES[stage.objective].decodes(stage.tables):
            slice_frames = min(stage.tables.decode_slice or num_frames, num_frames)
            decoded = decoding_bytes(slice_frames, (height, width), config.run.activation_checkpointing)
        return network_sketch(
            unet,
            num_frames=num_frames,
            latent_size=(height, width),
            fixed=_fixed_bytes(2 if config.run.precision == "bf16" else 4),
            decoding=decoded,
        )

    def exported(self, tensors: dict[str, Tensor], config: TrainConfig, start: Start | None) -> Mapping[str, Tensor]:
        """Return all tensors by the published names, those that never trained from the file that the run began with."""
        return whole_tensors(start or Start(), tensors, self._sizes(config), config.seed)

    def _sizes(self, config: TrainConfig) -> StarUNetConfig:
        return with_changes(self.entry.unet, config.network)


def network_sketch(
    unet: StarUNetConfig, *, num_frames: int, latent_size: tuple[int, int], fixed: int = 0, decoding: int = 0
) -> StageSketch:
    """Sketch the network of one clip.

    Args:
        unet: its sizes.
        num_frames: T.
        latent_size: (h, w); h must be 2 and w 0 modulo the network's ``row_step``.
        fixed: see :class:`StageSketch`.
        decoding: see :class:`StageSketch`.
    """
    with torch.device("meta"):
        network = CaptionedStar(unet)
        latents = torch.empty(1, unet.in_channels, num_frames, *latent_size)
        context = torch.empty(1, _TEXT_TOKENS, unet.context_dim)
        t = torch.zeros(1, dtype=torch.long)
    return StageSketch(
        network=network,
        parts=STAR_PARTS,
        inputs=(latents, t, latents, context),
        blocks=star_blocks(network),
        recompute=partial(recompute_blocks, network),
        halves_constant=True,
        fixed=fixed,
        decoding=decoding,
    )


def decoding_bytes(num_frames: int, latent_size: tuple[int, int], recomputed: bool) -> int:
    """Count float32 bytes that autograd keeps while a slice of frames goes through the published decoder and back."""
    with torch.device("meta"):
        decoder = TemporalVae().requires_grad_(False).decoder
        latents = torch.empty(num_frames, 4, *latent_size, requires_grad=True)

    def recompute(checkpoint: Checkpoint) -> None:
        decoder.activation_checkpointing, decoder.checkpoint = True, checkpoint

    return kept_bytes(decoder, (latents,), recompute if recomputed else None)


def _fixed_bytes(matrix_bytes: int) -> int:
    """Return the bytes of VAE (float32) and text tower (matrices in the type of the run) at their published size."""
    with torch.device("meta"):
        vae, tower = TemporalVae(), TextTower()
    text = dict(tower.named_parameters())
    halved = sum(value.numel() for name, value in text.items() if is_matrix(name, value))
    values = sum(value.numel() for value in [*vae.parameters(), *text.values()])
    return 4 * (values - halved) + matrix_bytes * halved
