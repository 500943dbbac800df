"""Single frames as GIF images: the best 256 colours of each, mapped with a pattern that stands still.

The pattern (ordered dithering) lies over the picture in the same place in every frame, so that still parts stay still;
error diffusion would shimmer.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

_COLORS = 256
_OPAQUE_FROM = 128
_STRENGTH = 12.0  # codes between the darkest and the brightest place of the pattern


def encode_gif(pixels: Any) -> bytes:
    """Encode [H, W, 3 or 4] uint8 as a GIF of one frame; transparency below one half is transparent.

    Pictures of at most 256 colours (255 with transparency) are kept exactly.
    """
    from PIL import Image

    clear = pixels[..., 3] < _OPAQUE_FROM if pixels.shape[2] == 4 else None
    rgb = np.ascontiguousarray(pixels[..., :3])
    num_colors = _COLORS - (1 if clear is not None else 0)
    indices, palette = _exact(rgb, num_colors) or _nearest(rgb, num_colors)
    settings: dict[str, Any] = {}
    if clear is not None:
        indices = np.where(clear, num_colors, indices).astype(np.uint8)
        settings["transparency"] = num_colors
    image = Image.fromarray(np.ascontiguousarray(indices)).convert("P")
    image.putpalette(palette.ljust(3 * _COLORS, b"\0"))
    out = io.BytesIO()
    image.save(out, "GIF", optimize=False, interlace=0, **settings)
    return out.getvalue()


def _exact(rgb: Any, num_colors: int) -> tuple[Any, bytes] | None:
    codes = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    found, indices = np.unique(codes, return_inverse=True)
    if len(found) > num_colors:
        return None
    palette = np.stack([found >> 16, found >> 8 & 255, found & 255], -1).astype(np.uint8).tobytes()
    return indices.reshape(codes.shape).astype(np.uint8), palette


def _nearest(rgb: Any, num_colors: int) -> tuple[Any, bytes]:
    from PIL import Image

    chosen = Image.fromarray(rgb).quantize(num_colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = bytes(chosen.getpalette() or [])[: 3 * num_colors]
    height, width = rgb.shape[:2]
    pattern = np.tile(_bayer(), (height // 8 + 1, width // 8 + 1))[:height, :width, None]
    shifted = np.rint(np.clip(rgb + (pattern - 0.5) * _STRENGTH, 0, 255)).astype(np.uint8)
    mapped = Image.fromarray(shifted).quantize(palette=chosen, dither=Image.Dither.NONE)
    return np.asarray(mapped), palette


def _bayer() -> Any:
    """Build the 8x8 matrix of thresholds by Bayer (1973), 0 to 1."""
    matrix = np.zeros((1, 1))
    for _ in range(3):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / 64
