"""Training of the small decoder for StableVSR's guidance, beside the frozen upscaler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import DataError, OptionError
from starvsr.families.stablevsr.configuration import read_scheduler
from starvsr.families.stablevsr.diffusers_parts import load_network
from starvsr.families.stablevsr.guidance_decoder import (
    FOLDER,
    TENSORS,
    Described,
    GuidanceDecoder,
    GuidanceDecoderConfig,
    decoder_files,
    describe_decoder,
    fingerprint,
    load_decoder,
)
from starvsr.families.stablevsr.load import encode_text
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.models.weights import ModelFiles, digest
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families.stablevsr_parts import check_objectives, find_fixed, network_sizes
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.guidance_decoder import GuidanceDecoderModel, write_decoder
from starvsr.training.model import Start
from starvsr.training.parts import NamedParts
from starvsr.training.recipe import with_changes
from starvsr.training.sketch import StageSketch

OBJECTIVE = "guidance-decoder"
NUM_STEPS = 20
DECODER_PARTS = NamedParts()
SKETCH_PARTS = NamedParts(parts={"all": lambda name: name.startswith("decoder.")})
"""Of the network that a memory plan counts, which has the frozen UNet inside."""


class GuidanceDecoderTraining(TrainingFamily[StableVSRSpec]):
    """The decoder for the guidance, from nothing or from that of another run."""

    model = GuidanceDecoderModel
    reads_published = True
    writes_folder = True
    is_part = True
    weights_option = "--guidance-decoder"

    def check(self, config: TrainConfig) -> None:
        """Refuse what the decoder is not trained with; see the base class."""
        check_objectives(config, OBJECTIVE)
        super().check(config)
        _sizes(config)
        for number, stage in enumerate(config.stage):
            if not stage.tables.losses.pixel and not stage.tables.losses.gradient:
                raise DataError(f"stage.{number}.losses leaves nothing to learn from: give pixel or gradient a weight")
        if config.init == self.entry.name:
            raise DataError(
                f"recipe key init: {self.entry.name} is published without a small decoder: leave it out to begin "
                "afresh, or name a folder with one"
            )
        if config.run.parallel == "fsdp":
            raise DataError('a decoder for the guidance trains with run.parallel = "data": it fits one device')

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> GuidanceDecoderModel:
        """Build the decoder and load the frozen parts beside it."""
        files = find_fixed(self.entry, config)
        word = config.init if start_from is None else str(start_from.resolve())
        start = Start(word if begun is None else begun.word, files["vae"], _digest(files))
        if begun is not None:
            _check_same(files, begun)
        vae = load_network(files, "vae")
        network = _decoder(config, vae, start.word)
        return GuidanceDecoderModel(
            name=self.entry.name,
            scale=self.entry.scale,
            network=network.requires_grad_(True).to(device),
            parts=DECODER_PARTS,
            unet=load_network(files, "unet").to(device),
            vae=vae.to(device),
            text=encode_text(files, "").to(device),
            scheduler=read_scheduler(files),
            autocast=autocast_of(config),
            validation_steps=NUM_STEPS,
            start=start,
        )

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage: the gradient runs through the small decoder alone; nothing is recomputed."""
        import diffusers

        sizes, (frames, side) = network_sizes(self.entry, config), crop_of(config, stage)
        count = config.data.batch * frames
        with torch.device("meta"):
            vae: Any = diffusers.AutoencoderKL.from_config(sizes["vae"])
            unet: Any = diffusers.UNet2DConditionModel.from_config(sizes["unet"])
            network = _Beside(GuidanceDecoder(_sizes(config)), unet.requires_grad_(False))
            latents = torch.empty(count, network.decoder.config.latent_channels, side, side)
        return StageSketch(
            network=network,
            parts=SKETCH_PARTS,
            inputs=(latents,),
            blocks=[*network.decoder.blocks, *network.decoder.up_blocks],
            fixed=sum(4 * parameter.numel() for parameter in vae.parameters()),
            clips=config.data.batch,
        )

    @property
    def weights_name(self) -> str:
        """Name of the folder that an export writes."""
        return FOLDER

    def write(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write the folder of the decoder, which names the autoencoder that it was trained beside."""
        files = find_fixed(self.entry, config)
        if start is not None:
            _check_same(files, start)
        vae = load_network(files, "vae")
        sizes = _decoder(config, vae, "" if start is None else start.word).config
        write_decoder(path, Described(sizes, float(vae.config.scaling_factor), fingerprint(vae)), tensors)
        return path / TENSORS


class _Beside(nn.Module):
    """The decoder, and the frozen UNet whose weights are held beside it."""

    def __init__(self, decoder: GuidanceDecoder, unet: Any) -> None:
        super().__init__()
        self.decoder, self.unet = decoder, unet

    def forward(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.decoder(latents)
        return pictures


def _sizes(config: TrainConfig) -> GuidanceDecoderConfig:
    """Return the sizes that a recipe asks for."""
    try:
        sizes = with_changes(GuidanceDecoderConfig(), config.network)
    except OptionError as error:
        raise DataError(f"recipe section network: {error}") from error
    if sizes.latent_channels != GuidanceDecoderConfig().latent_channels:
        raise DataError("recipe key network.latent_channels is the autoencoder's, not to be chosen: leave it out")
    return sizes


def _decoder(config: TrainConfig, vae: Any, start: str) -> GuidanceDecoder:
    """Build the decoder on the CPU: fresh weights of the recipe's seed, or those of a folder.

    Raises:
        WeightsError: no decoder there, a damaged one, or one for another autoencoder.
        DataError: sizes for a decoder that has its own.
    """
    if not start:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            return GuidanceDecoder(_sizes(config))
    if config.network:
        raise DataError(
            "recipe section network is for a fresh decoder, and this one starts from one with its own sizes"
        )
    files = decoder_files(Path(start).expanduser())
    described = describe_decoder(files, vae.config)
    return load_decoder(files, described, vae, torch.float32).train()


def _digest(files: ModelFiles) -> str:
    return f"{digest(files['vae'])} (autoencoder), {digest(files['unet'])} (UNet)"


def _check_same(files: ModelFiles, begun: Start) -> None:
    now = _digest(files)
    if begun.digest != now:
        raise DataError(
            f"{files['vae']} or {files['unet']} is another one than the run began with (SHA-256 {now}; then "
            f"{begun.digest}): put those back, or begin in another folder"
        )
