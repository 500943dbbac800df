"""Made pictures of which the truth is known: drawn material, text, defocus, edges, gray and grain.

All are drawn at the size of the result, four times that of the input, from fixed seeds. Inputs are averages of 4x4
pixels: no filter that rings stands between truth and input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from starvsr.errors import OptionError

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

SCALE = 4
LEAST_SIZE = (288, 216)
_FINE = 4
"""Samples per pixel along each side where lines are drawn."""
_DEFOCUS_PX = 14
"""Radius of the circle of confusion, in pixels of the result: what a lens out of focus makes of a point."""
_CONTRASTS = ((16, 235), (200, 90), (60, 110))
_WORDS = ("Quick brown fox 0123456789", "jumps over the LAZY DOG", "(x + y)^2 = {a; b} & 7.5 %", "Il1| rn m ili")


@dataclass(frozen=True)
class Chart:
    """A still chart and what is looked at in it.

    Args:
        name: What it shows.
        truth: uint8 [H, W, 3], sides multiples of 4.
        looked_at: bool [H, W]: pixels that are measured.
        distance: Of each pixel from the nearest edge in pixels, negative on its dark side; None without known edges.
        patch: Number of the edge that it belongs to.
    """

    name: str
    truth: ByteArray
    looked_at: npt.NDArray[np.bool_]
    distance: FloatArray | None = None
    patch: npt.NDArray[np.int64] | None = None

    @property
    def lq(self) -> ByteArray:
        """The input, uint8 [H / 4, W / 4, 3]: rounded averages."""
        height, width = (side // SCALE for side in self.truth.shape[:2])
        cells = self.truth.reshape(height, SCALE, width, SCALE, 3).mean((1, 3))
        return np.rint(cells).astype(np.uint8)


def drawn(width: int, height: int) -> Chart:
    """Make flat colours with dark outlines, as in animation."""
    rng = np.random.default_rng(1)
    picture = Image.new("RGB", (_FINE * width, _FINE * height), (214, 226, 238))
    pen = ImageDraw.Draw(picture)
    for index in range(14):
        x, y = rng.uniform(0, picture.width), rng.uniform(0, picture.height)
        size = rng.uniform(0.08, 0.3) * picture.height
        colour = tuple(int(value) for value in rng.integers(60, 240, 3))
        line = round(_FINE * rng.uniform(2, 7))
        box = (x - size, y - 0.7 * size, x + size, y + 0.7 * size)
        if index % 3 == 0:
            pen.rounded_rectangle(box, size / 4, fill=colour, outline=(20, 18, 24), width=line)
        elif index % 3 == 1:
            pen.ellipse(box, fill=colour, outline=(20, 18, 24), width=line)
        else:
            pen.arc(box, rng.uniform(0, 180), rng.uniform(200, 360), fill=(20, 18, 24), width=line)
    return _whole("drawn", np.asarray(picture.resize((width, height), Image.Resampling.BOX)))


def text(width: int, height: int) -> Chart:
    """Make lines of text of several sizes, dark on light and light on dark."""
    picture = Image.new("RGB", (width, height), (245, 243, 238))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, height // 2, width, height), fill=(24, 28, 40))
    top, index = 6, 0
    while top < height - 12:
        size = (22, 30, 40, 56)[index % 4]
        colour = (30, 30, 34) if top + size < height // 2 else (236, 232, 220)
        pen.text((8, top), _WORDS[index % len(_WORDS)], fill=colour, font=ImageFont.load_default(size))
        top, index = top + round(1.3 * size), index + 1
    return _whole("text", np.asarray(picture))


def defocused(width: int, height: int) -> Chart:
    """Make a background out of focus, with highlights, behind a sharp disc; the background alone is looked at."""
    rng = np.random.default_rng(3)
    background = 110 + 34 * _grain(width, height, rng)[..., None] + rng.uniform(-12, 12, 3)
    for _ in range(10):
        left, top = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        background[max(top - 3, 0) : top + 3, max(left - 3, 0) : left + 3] = 1500
    reach = _DEFOCUS_PX + 1
    wide = np.pad(background, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    y, x = (np.fft.fftfreq(side, 1 / side) for side in wide.shape[:2])
    lens = np.clip(_DEFOCUS_PX + 0.5 - np.hypot(y[:, None], x), 0, 1)
    spectra = np.fft.fft2(wide, axes=(0, 1)) * np.fft.fft2(lens / lens.sum())[..., None]
    soft = np.fft.ifft2(spectra, axes=(0, 1)).real[reach:-reach, reach:-reach]
    y, x = np.mgrid[:height, :width]
    radius = height / 6
    away = np.hypot(x - width / 2, y - height / 2) - radius
    sharp = np.clip(0.5 - away, 0, 1)[..., None]
    detail = 120 + 60 * _grain(width, height, rng, falloff=0.6)[..., None]
    truth = _bytes(soft * (1 - sharp) + detail * sharp)
    return Chart("defocus", truth, away > 6 * SCALE)


def edges(width: int, height: int) -> Chart:
    """Make straight edges between two levels, one patch for each angle and contrast.

    Raises:
        OptionError: The patches would be too small for lines beside the edges.
    """
    if width < LEAST_SIZE[0] or height < LEAST_SIZE[1]:
        raise OptionError(f"charts must be {LEAST_SIZE[0]}x{LEAST_SIZE[1]} px at least, not {width}x{height}")
    rows, columns = 3, 4
    picture, away = np.empty((height, width)), np.empty((height, width))
    patch = np.empty((height, width), np.int64)
    bounds = [np.linspace(0, side, count + 1).astype(int) for side, count in ((height, rows), (width, columns))]
    for row in range(rows):
        for column in range(columns):
            top, bottom = bounds[0][row : row + 2]
            left, right = bounds[1][column : column + 2]
            y, x = np.mgrid[top:bottom, left:right]
            angle = np.pi * (column / columns + 0.07 * row) if column % 2 else np.pi / 2 * (column // 2)
            from_edge = (x - (left + right) / 2 + 0.3) * np.cos(angle) + (y - (top + bottom) / 2 + 0.3) * np.sin(angle)
            dark, light = _CONTRASTS[row]
            picture[top:bottom, left:right] = dark + (light - dark) * np.clip(from_edge + 0.5, 0, 1)
            patch[top:bottom, left:right] = row * columns + column
            border = np.minimum.reduce([x - left, right - 1 - x, y - top, bottom - 1 - y])
            away[top:bottom, left:right] = np.where(border < 5 * SCALE, np.nan, from_edge)  # no neighbour's edge
    truth = _bytes(np.repeat(picture[..., None], 3, 2))
    return Chart("edges", truth, ~np.isnan(away), away, patch)


def grain(width: int, height: int) -> Chart:
    """Make texture whose power falls smoothly with frequency, as in photos; in colour."""
    rng = np.random.default_rng(5)
    planes = [118 + 40 * _grain(width, height, rng) for _ in range(3)]
    mean = np.mean(planes, 0)
    return _whole("grain", _bytes(np.stack([mean + 0.4 * (plane - mean) for plane in planes], 2)))


def gray(width: int, height: int) -> Chart:
    """Make texture and outlines without colour."""
    lines = drawn(width, height).truth.mean(2)
    texture = 30 * _grain(width, height, np.random.default_rng(6))
    return _whole("gray", _bytes(np.repeat((lines + texture)[..., None], 3, 2)))


def _whole(name: str, truth: ByteArray) -> Chart:
    return Chart(name, truth, np.ones(truth.shape[:2], bool))


def _grain(width: int, height: int, rng: np.random.Generator, falloff: float = 1.1) -> FloatArray:
    """Draw noise [H, W] of mean 0 and deviation 1 whose amplitude falls with frequency to the power ``falloff``."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    made = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency**falloff, s=(height, width))
    return np.asarray((made - made.mean()) / made.std())


def _bytes(picture: FloatArray) -> ByteArray:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
