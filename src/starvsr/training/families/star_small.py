"""Training of star-small: the STAR network at small width, on latents that are the pixels themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.imaging.frames import enlarge
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.models.star.small.model import StarSmall, keep_brightness
from starvsr.models.weights import liem_names, load_weights
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families.star import STAR_PARTS, recompute_blocks, star_blocks
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.model import DiffusionModel, Start
from starvsr.training.recipe import with_changes
from starvsr.training.sketch import StageSketch


@dataclass(kw_only=True)
class StarSmallModel(DiffusionModel):
    """:class:`StarSmall` with its codec."""

    def encode(self, pixels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Encode pixels whose sides are multiples of the codec's factor; nothing is drawn."""
        with torch.no_grad():
            return self.codec.encode(pixels)

    def one_step_change(self, velocity: Tensor) -> Tensor:
        """Leave local brightness and colour as they are."""
        return keep_brightness(velocity)

    def finished(self, pixels: Tensor, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Refine decoded pixels."""
        chosen = cast(StarSmall, network or self.network)
        plain = enlarge(lq, pixels.shape[-2], pixels.shape[-1], self.enlarge_mode)
        return chosen.refined(pixels, plain, lq)

    def blocks(self) -> list[nn.Module]:
        """List the blocks with weights of their own."""
        return star_blocks(self.network)


class StarSmallTraining(TrainingFamily[StarSmallSpec]):
    """star-small, from nothing or from exported weights."""

    model = StarSmallModel
    has_ends = True

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> StarSmallModel:
        """Build the network; weights to begin with may lack gates of LIEM and the refinement, which are then new."""
        spec = self._spec(config)
        torch.manual_seed(config.seed)
        network = StarSmall(spec.network, spec.context_tokens).to(device)
        if config.run.activation_checkpointing:
            recompute_blocks(network)
        if start_from is not None:
            names = network.state_dict()
            new = [name for name in names if name.startswith("refinement.")]
            load_weights(network, start_from, may_lack=[*liem_names(names), *new])
        return StarSmallModel(
            name=spec.name,
            scale=spec.scale,
            network=network,
            parts=STAR_PARTS,
            codec=PixelUnshuffleCodec(),
            autocast=autocast_of(config),
            enlarge_mode=spec.enlarge,
            one_step_timestep=spec.one_step_timestep,
        )

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage: latents are as large as the low-quality crop."""
        spec, (num_frames, side) = self._spec(config), crop_of(config, stage)
        with torch.device("meta"):
            network = StarSmall(spec.network, spec.context_tokens)
            latents = torch.empty(1, spec.network.in_channels, num_frames, side, side)
            t = torch.zeros(1, dtype=torch.long)
        return StageSketch(
            network=network,
            parts=STAR_PARTS,
            inputs=(latents, t, latents),
            blocks=star_blocks(network),
            recompute=partial(recompute_blocks, network),
        )

    @property
    def weights_name(self) -> str:
        """That of the weights in the package."""
        return self.entry.weights

    @property
    def upscale_words(self) -> str:
        """Nothing: it is the model that `starvsr upscale` takes."""
        return ""

    def _spec(self, config: TrainConfig) -> StarSmallSpec:
        return dataclasses.replace(self.entry, network=with_changes(self.entry.network, config.network))
