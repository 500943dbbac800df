"""Bytes of one call of each network of StableVSR, traced on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder, GuidanceDecoderConfig
from starvsr.families.stablevsr.split_unet import encode, finish
from starvsr.models.weights import build_empty
from starvsr.offload.footprint import ClipSize
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.offload.traced import LinearFit

SIZES = ClipSize(1, 48, 48), ClipSize(1, 72, 72), ClipSize(2, 72, 72)


@dataclass(frozen=True)
class CallBytes:
    """Bytes of one call of each network at work; see `starvsr.offload.traced.LinearFit`.

    The decoder in strips follows no such line, and is traced at each size that is asked for; None of a small decoder.
    """

    encode: LinearFit
    control: LinearFit
    finish: LinearFit
    guide: LinearFit
    decode: LinearFit
    decode_strips: Callable[[ClipSize], int]
    guide_strips: Callable[[ClipSize], int] | None


def trace_calls(
    networks: Mapping[str, Any],
    guide: torch.dtype,
    dtype: torch.dtype,
    small: GuidanceDecoderConfig | None = None,
) -> CallBytes:
    """Trace the networks' calls; the same networks are traced once in a process.

    Args:
        networks: "unet", "tcm" and "vae" of diffusers, on any device; only their configurations are read.
        guide: Number type of the autoencoder's decoder where it decodes for the guidance.
        dtype: Number type of UNet and TCM.
        small: Sizes of a decoder for the guidance, of the same number type, in place of the autoencoder's.
    """
    described = tuple(
        (name, type(network), json.dumps(dict(network.config), sort_keys=True, default=str))
        for name, network in networks.items()
    )
    return _trace(described, guide, dtype, small)


@lru_cache(maxsize=8)
def _trace(
    described: tuple[tuple[str, Any, str], ...],
    guide: torch.dtype,
    dtype: torch.dtype,
    small: GuidanceDecoderConfig | None,
) -> CallBytes:
    networks = {name: build_empty(partial(kind.from_config, json.loads(text))) for name, kind, text in described}
    for network in networks.values():
        network.eval()
    unet, tcm, vae = networks["unet"], networks["tcm"], networks["vae"]
    for network in (unet, tcm):
        nn.Module.to(network, dtype)  # diffusers' own warns without reason
    text = torch.empty(1, 77, unet.config.cross_attention_dim, dtype=dtype, device="meta")

    def inputs(size: ClipSize) -> Tensor:
        return torch.empty(
            size.num_frames, unet.config.in_channels, size.height, size.width, dtype=dtype, device="meta"
        )

    def first(size: ClipSize) -> int:
        given = inputs(size)
        return _peak(lambda: encode(unet, given, 0, text), [given, text], unet)

    def second(size: ClipSize) -> int:
        encoded = encode(unet, inputs(size), 0, text)
        downs = [torch.empty_like(skip) for skip in encoded.skips]
        given = [*encoded.skips, encoded.middle, encoded.time, *downs, text]
        return _peak(lambda: finish(unet, encoded, text, downs, torch.empty_like(encoded.middle)), given, unet)

    def control(size: ClipSize) -> int:
        given = inputs(size)
        picture = torch.empty(1, 3, 4 * size.height, 4 * size.width, dtype=dtype, device="meta")
        return _peak(lambda: tcm(given, 0, text, picture, return_dict=False), [given, picture, text], tcm)

    def decoding(decoder: nn.Module, **options: bool) -> Callable[[ClipSize], int]:
        def decode(size: ClipSize) -> int:
            latent = torch.empty(1, vae.config.latent_channels, size.height, size.width, device="meta")
            return _peak(lambda: decoder(latent, **options), [latent], decoder)

        return decode

    with torch.inference_mode(False), torch.no_grad():
        own = FrameDecoder(vae, torch.float32)
        decode, decode_strips = _of_one_frame(decoding(own)), _once(decoding(own, strips=True))
        guided = decode
        guide_strips: Callable[[ClipSize], int] | None = decode_strips
        if small is not None:
            given = build_empty(lambda: GuidanceDecoder(small)).to(dtype)
            guided, guide_strips = _of_one_frame(decoding(given)), None
        elif guide != torch.float32:
            half = FrameDecoder(vae, guide)
            guided, guide_strips = _of_one_frame(decoding(half)), _once(decoding(half, strips=True))
        return CallBytes(
            encode=LinearFit.through(SIZES, [first(size) for size in SIZES]),
            control=_of_one_frame(control),
            finish=_of_one_frame(second),
            guide=guided,
            decode=decode,
            decode_strips=decode_strips,
            guide_strips=guide_strips,
        )


def _once(measure: Callable[[ClipSize], int]) -> Callable[[ClipSize], int]:
    """Keep what was measured of each size."""

    @lru_cache(maxsize=64)
    def kept(size: ClipSize) -> int:
        with torch.inference_mode(False), torch.no_grad():
            return measure(size)

    return kept


def _of_one_frame(measure: Callable[[ClipSize], int]) -> LinearFit:
    small, large = (measure(size) for size in SIZES[:2])
    return LinearFit.through(SIZES, [small, large, large])


def _peak(call: Callable[[], object], given: Sequence[Tensor], network: nn.Module) -> int:
    with FusedAttention(), LiveBytes([*network.state_dict().values(), *given]) as live:
        call()
    return live.peak
