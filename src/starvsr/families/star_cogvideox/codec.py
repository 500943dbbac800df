"""Pixels to latents and back by the causal VAE of CogVideoX, for clips and frames of any size.

A clip is encoded in pieces of as many frames as the network was trained with; the ends that the next piece's
convolutions reach are carried over, so only the first frame of a clip is a latent frame of its own. Frames are cut into
tiles where memory asks for it; latents and pixels of neighbours are blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from starvsr.diffusion.posterior import LOGVAR_RANGE, sample_posterior
from starvsr.families.star_cogvideox.tiles import CELL_PX, FRAMES_PER_LATENT, axis_of_tiles
from starvsr.models.cogvideox import lean_vae
from starvsr.windows import Window, blend_weights

PIECE_FRAMES = 25
"""Frames that are encoded in one pass: as many as the published network was trained with."""
TILE_OVERLAP = 8
"""Cells that neighbouring tiles share."""
_PIECE_LATENTS = 2
"""Latent frames that are decoded at once, after three in the first piece."""


class CogVideoXCodec:
    """The VAE of a loaded model.

    Args:
        vae: AutoencoderKLCogVideoX.
        piece: Frames that are encoded in one pass, 4k + 1; None takes whole clips.
        device: Where it computes; its weights may lie elsewhere in between.

    Attributes:
        tiles: Rows and columns of tiles.
    """

    def __init__(self, vae: Any, *, piece: int | None = PIECE_FRAMES, device: torch.device | str = "cpu") -> None:
        self.vae, self.piece, self.device = vae, piece, torch.device(device)
        self.tiles = 1, 1
        self.factor: float = vae.config.scaling_factor
        self.channels: int = vae.config.latent_channels

    @property
    def dtype(self) -> torch.dtype:
        """Number type that it computes in."""
        dtype: torch.dtype = next(self.vae.parameters()).dtype
        return dtype

    def encode(self, pixels: Tensor, noise: Tensor | None) -> Tensor:
        """Return scaled latents.

        Args:
            pixels: [1, 3, T, H, W] in [-1, 1], on any device; T is 4k + 1, H and W are multiples of 8.
            noise: Unit normal, of the shape of the latents, for a sample of the posterior; None takes its mean.

        Returns:
            float32 [1, C, (T - 1) / 4 + 1, H / 8, W / 8] on the device.
        """
        rows, columns = pixels.shape[-2] // CELL_PX, pixels.shape[-1] // CELL_PX
        moments: Tensor | None = None
        for row, column, weight in self._tiles(rows, columns):
            made = self._moments(pixels[..., _in_pixels(row), _in_pixels(column)]) * weight
            if moments is None:
                moments = made.new_zeros(*made.shape[:3], rows, columns)
            moments[..., _cells(row), _cells(column)] += made
        assert moments is not None
        mean, logvar = moments.chunk(2, 1)
        noise = None if noise is None else noise.to(self.device)
        return sample_posterior(mean, logvar.clamp(*LOGVAR_RANGE), noise) * self.factor

    def _moments(self, pixels: Tensor) -> Tensor:
        """Return mean and log-variance of a tile, float32 [1, 2C, t, h, w]."""
        parts, start, count = [], 0, pixels.shape[2]
        carried: lean_vae.Carried | None = {} if self.piece is not None and count > self.piece else None
        while start < count:
            stop = count if self.piece is None else min(count, start + self.piece - (1 if start else 0))
            piece = pixels[:, :, start:stop].to(self.device, self.dtype)
            made = lean_vae.encode(self.vae.encoder, piece, carried=carried)
            parts.append(made if self.vae.quant_conv is None else self.vae.quant_conv(made))
            start = stop
        return torch.cat(parts, 2).float()

    def decode(self, latents: Tensor, keep: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the kept frames of a clip.

        Args:
            latents: [1, C, t, h, w], scaled as `encode` scales them.
            keep: Which of the 4 * (t - 1) + 1 frames.

        Yields:
            float32 [3, 8 * h, 8 * w], about in [-1, 1]. Whole frames come piece by piece; tiles are gathered in the
            host's memory first.
        """
        wanted = range(FRAMES_PER_LATENT * (latents.shape[2] - 1) + 1)[keep]
        rows, columns = latents.shape[-2:]
        tiles = list(self._tiles(rows, columns, CELL_PX))
        if len(tiles) == 1:
            yield from self._decode_tile(latents, wanted)
            return
        clip = torch.zeros(len(wanted), 3, CELL_PX * rows, CELL_PX * columns)
        for row, column, weight in tiles:
            part = latents[..., _cells(row), _cells(column)]
            for frame, made in zip(clip, self._decode_tile(part, wanted), strict=True):
                frame[:, _in_pixels(row), _in_pixels(column)] += (made * weight).cpu()
        yield from (frame.to(self.device) for frame in clip)

    def _decode_tile(self, latents: Tensor, wanted: range) -> Iterator[Tensor]:
        """Yield the wanted frames of a tile; pieces fit an odd number of latent frames, so one may be repeated."""
        if latents.shape[2] % 2 == 0:
            latents = torch.cat([latents, latents[:, :, -1:]], 2)
        latents = (latents / self.factor).to(self.device, self.dtype)
        if self.vae.post_quant_conv is not None:
            latents = self.vae.post_quant_conv(latents)
        carried: lean_vae.Carried = {}
        start, index = 0, 0
        while start < latents.shape[2] and wanted and index <= wanted[-1]:
            stop = start + _PIECE_LATENTS + (1 if start == 0 else 0)
            frames = lean_vae.decode_piece(self.vae.decoder, latents[:, :, start:stop], carried)
            for frame in frames[0].unbind(1):
                if index in wanted:
                    yield frame.to(torch.float32, copy=True)  # a view would keep the whole piece
                index += 1
            del frame, frames
            start = stop

    def _tiles(self, rows: int, columns: int, repeats: int = 1) -> Iterator[tuple[Window, Window, Tensor]]:
        """Yield rows and columns of each tile, and its weights at ``repeats`` pixels for each side of a cell."""
        axes = [axis_of_tiles(*axis, TILE_OVERLAP) for axis in zip((rows, columns), self.tiles, strict=True)]
        weighed = [list(zip(windows, _weights(windows, repeats), strict=True)) for windows in axes]
        for (row, down), (column, across) in product(*weighed):
            yield row, column, (torch.tensor(down)[:, None] * torch.tensor(across)).to(self.device)


def _weights(windows: list[Window], repeats: int) -> list[list[float]]:
    scaled = [Window(*(repeats * at for at in (w.start, w.stop, w.keep_start, w.keep_stop))) for w in windows]
    return blend_weights(scaled, "cosine")


def _cells(window: Window) -> slice:
    return slice(window.start, window.stop)


def _in_pixels(window: Window) -> slice:
    return slice(CELL_PX * window.start, CELL_PX * window.stop)
