"""A picture sheet of the presets: the same frame, sharp and degraded, one column per preset, one row per draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from starvsr.degradation.compression import to_bytes
from starvsr.degradation.recipe import degrade_clip

_MARGIN_PX, _TITLE_PX = 4, 14


def draw_sheet(
    frames: np.ndarray, path: Path, presets: Sequence[str], *, seed: int = 0, num_draws: int = 3, scale: int = 4
) -> None:
    """Write a sheet as an image file.

    Args:
        frames: sharp clip, uint8 [T, H, W, 3]; its middle frame is shown, LQ pixels enlarged without smoothing.
        path: target; the suffix sets the format.
        presets: names of presets.
        seed: seed of the draws.
        num_draws: rows.
        scale: GT pixels per LQ pixel.
    """
    height, width = (side // scale * scale for side in frames.shape[1:3])
    clip = torch.from_numpy(np.ascontiguousarray(frames[:, :height, :width])).permute(0, 3, 1, 2)
    size = (_TITLE_PX + num_draws * (height + _MARGIN_PX), (len(presets) + 1) * (width + _MARGIN_PX))
    sheet = Image.new("RGB", (size[1], size[0]), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(("sharp", *presets)):
        left = column * (width + _MARGIN_PX)
        pen.text((left + 2, 1), name, fill="black")
        for row in range(num_draws):
            picture = Image.fromarray(frames[len(frames) // 2, :height, :width])
            if column:
                lq = to_bytes(degrade_clip(clip, name, np.random.default_rng((seed, row)), scale))
                picture = Image.fromarray(lq[len(lq) // 2]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, _TITLE_PX + row * (height + _MARGIN_PX)))
    sheet.save(path)
