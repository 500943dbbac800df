"""The causal 3D VAE of CogVideoX: encoded in one pass, decoded in pieces. Built on diffusers' AutoencoderKLCogVideoX.

Sizes: 8x8 pixels and 4 frames a latent cell; the first frame is a latent frame of its own, so 4k + 1 frames become
k + 1 latent frames. No scaling factor is applied here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from starvsr.models.cogvideox import lean_vae

_LOGVAR_RANGE = (-30.0, 20.0)
_PIECE = 2
"""Latent frames that are decoded at once, after three in the first piece; the VAE was trained with these pieces."""
FRAMES_PER_LATENT = 4


def encode_moments(vae: Any, video: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance of the posterior, as STAR encodes: the whole clip in one pass.

    diffusers' own ``encode`` takes 8 frames at a time, so its group norms see other frames. Without gradients
    `starvsr.models.cogvideox.lean_vae` computes.

    Args:
        vae: AutoencoderKLCogVideoX.
        video: [B, 3, T, H, W] in [-1, 1]; T is 4k + 1, H and W are multiples of 8.

    Returns:
        Both [B, 16, (T - 1) / 4 + 1, H / 8, W / 8]; the log-variance is limited to -30 ... 20.

    Raises:
        ValueError: The clip has another number of frames.
    """
    if video.shape[2] % FRAMES_PER_LATENT != 1:
        raise ValueError(f"{video.shape[2]} frames: the VAE of CogVideoX takes 4k + 1")
    if torch.is_grad_enabled():
        encoded, _ = vae.encoder(video)
    else:
        encoded = torch.cat([lean_vae.encode(vae.encoder, clip[None]) for clip in video])
    if vae.quant_conv is not None:
        encoded = vae.quant_conv(encoded)
    mean, logvar = encoded.chunk(2, 1)
    return mean, logvar.clamp(*_LOGVAR_RANGE)


def sample(mean: Tensor, logvar: Tensor, noise: Tensor | None) -> Tensor:
    """Return latents of a posterior: with noise of its shape a sample, without the mode."""
    return mean if noise is None else mean + torch.exp(0.5 * logvar) * noise


def decode(vae: Any, latents: Tensor, *, recompute: bool = False) -> Tensor:
    """Return the clip of latents, decoded in pieces of 3, 2, 2, ... latent frames.

    The ends of a piece that the next one's convolutions reach are carried over. The pieces fit an odd number of latent
    frames; of an even number the last one is repeated and its frames are left out again.

    Args:
        vae: AutoencoderKLCogVideoX.
        latents: [B, 16, t, h, w], divided by the scaling factor.
        recompute: With gradients: compute each piece again in the backward pass instead of keeping what is in it.

    Returns:
        [B, 3, 4 * (t - 1) + 1, 8 * h, 8 * w], about in [-1, 1].
    """
    count = latents.shape[2]
    if count % _PIECE == 0:
        latents = torch.cat([latents, latents[:, :, -1:]], 2)
    if vae.post_quant_conv is not None:
        latents = vae.post_quant_conv(latents)
    if torch.is_grad_enabled():
        clip = _decoded(vae.decoder, latents, recompute)
    else:
        clip = torch.cat([_decoded_leanly(vae.decoder, each[None]) for each in latents])
    return clip[:, :, : FRAMES_PER_LATENT * (count - 1) + 1]


def _decoded(decoder: Any, latents: Tensor, recompute: bool) -> Tensor:
    """Decode with gradient, which runs through the ends that are carried over, too."""
    clip, carried = [], None
    for piece in _pieces(latents):
        if recompute:
            frames, carried = checkpoint(decoder, piece, conv_cache=carried, use_reentrant=False)
        else:
            frames, carried = decoder(piece, conv_cache=carried)
        clip.append(frames)
    return torch.cat(clip, 2)


def _decoded_leanly(decoder: Any, latents: Tensor) -> Tensor:
    carried: lean_vae.Carried = {}
    return torch.cat([lean_vae.decode_piece(decoder, piece, carried) for piece in _pieces(latents)], 2)


def _pieces(latents: Tensor) -> list[Tensor]:
    """Cut an odd number of latent frames into pieces of 3, 2, 2, ...; one alone is a piece."""
    first = min(latents.shape[2], _PIECE + 1)
    return [latents[:, :, :first], *(latents[:, :, first:].split(_PIECE, 2) if first < latents.shape[2] else ())]
