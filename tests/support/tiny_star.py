"""A published pipeline at tiny size, without files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.families.star_i2vgen.sampling import Sampling
from starvsr.families.star_i2vgen.upscaler import Parts, StarI2VGen
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig

UNET = StarUNetConfig(
    width=32, multipliers=(1, 1), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=16,
    temporal_stages=(1, 1), dropout=0.0,
)  # fmt: skip
VAE = TemporalVaeConfig(channels=(8, 8, 8), layers_per_block=2, groups=4)


def randomized(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1, generator=generator)
    return network.eval().requires_grad_(False)


def tiny(**settings: Any) -> StarI2VGenPipeline:
    """A pipeline with settings of `Sampling`."""
    network, vae = _networks()
    codec = TemporalVaeCodec(vae)
    return StarI2VGenPipeline("tiny", network, codec, _contexts(None, None, "fit"), Sampling(**settings))


class TinyStar(StarI2VGen):
    """A loaded model; remembers the pipelines that jobs got, and calls ``prepared`` with each."""

    def __init__(self, **loaded_with: Any) -> None:
        self.network, vae = _networks()
        self.made: list[StarI2VGenPipeline] = []
        self.prepared: Callable[[StarI2VGenPipeline], None] = lambda made: None
        super().__init__("tiny", Parts(self.network, vae, _contexts), loaded_with=loaded_with)

    def __reduce__(self) -> tuple[Callable[..., TinyStar], tuple[dict[str, Any]]]:
        """Travel to other processes by how it is made."""
        return _tiny_star, (dict(self.loaded_with),)

    def pipeline(self, values: Mapping[str, Any] | None = None) -> StarI2VGenPipeline:
        made = super().pipeline(values)
        self.made.append(made)
        self.prepared(made)
        return made


def _tiny_star(loaded_with: dict[str, Any]) -> TinyStar:
    return TinyStar(**loaded_with)


def _networks() -> tuple[StarUNet, TemporalVae]:
    network, vae = randomized(StarUNet(UNET), 1), randomized(TemporalVae(VAE), 2)
    assert isinstance(network, StarUNet) and isinstance(vae, TemporalVae)
    return network, vae


def _contexts(prompt: str | None, negative_prompt: str | None, join: str) -> tuple[Tensor, Tensor]:
    """Other numbers for other words."""
    given = [word for word in (prompt, negative_prompt, None if join == "fit" else join) if word is not None]
    generator = torch.Generator().manual_seed(3 + sum(map(ord, "".join(given))))
    positive, negative = torch.randn(2, 1, 4, 16, generator=generator).unbind(0)
    return positive, negative


def clip(num_frames: int, height: int, width: int) -> Tensor:
    return torch.rand(1, 3, num_frames, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1
