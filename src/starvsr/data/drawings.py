"""Drawn material: flat or shaded areas, outlines, lines and letters, as in animation, diagrams and screens.

Photos and films hold few edges between areas that are even on both sides. A network trained on them alone draws
haloes and ghost lines there, which nothing in its training shows as clearly.
"""

from __future__ import annotations

import math
import string

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from starvsr.data.motion import MotionRanges, camera_path

_FINE = 3
"""Pixels drawn per pixel of the picture, along each side; their averages are the picture."""
_NUM_SHAPES = (4, 26)
_SHAPE_SIDE = (0.04, 0.7)
"""Range of a shape's width and height, as shares of the picture's side; logarithms are drawn evenly."""
_LINE_PX = (0.7, 7.0)
"""Range of the width of lines, in pixels of the picture; logarithms are drawn evenly."""
_LETTER_PX = (9.0, 60.0)
_OUTLINED, _SHADED, _DARK_LINE = 0.55, 0.3, 0.7
"""Shares of shapes with an outline, of shaded backgrounds, and of dark ones among the lines."""
_KINDS = ("rectangle", "ellipse", "polygon", "rounded", "line", "arc", "letters")

Colour = tuple[int, int, int]


def drawn_clip(rng: np.random.Generator, num_frames: int, size: int, motion: MotionRanges) -> npt.NDArray[np.uint8]:
    """Draw a picture and film it: the camera pans and zooms.

    Each pixel of a frame is the average of what it covers, so that nothing of the ground truth rings.

    Args:
        rng: draws all there is in it.
        num_frames: of the clip.
        size: of the frames, in pixels.
        motion: of the camera; it does not rotate.

    Returns:
        uint8 [num_frames, size, size, 3].
    """
    path = camera_path(rng, num_frames, size, motion, rng.random() < motion.still_probability)
    room = 1.5 * size
    """What the camera may see, in pixels of the middle frame."""
    picture = _picture(rng, math.ceil(room))
    frames = []
    for shift_x, shift_y, log_zoom, _ in path:
        seen = min(size * math.exp(-log_zoom), room)
        left, top = (min(max((room - seen) / 2 + shift, 0.0), room - seen) for shift in (shift_x, shift_y))
        box = tuple(_FINE * edge for edge in (left, top, left + seen, top + seen))
        frames.append(np.asarray(picture.resize((size, size), Image.Resampling.BOX, box)))
    return np.stack(frames)


def _picture(rng: np.random.Generator, side: int) -> Image.Image:
    """Draw a picture, `_FINE` times as large as is asked for."""
    picture = Image.fromarray(_background(rng, side * _FINE))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(*_NUM_SHAPES))):
        _draw_shape(rng, pen, side)
    return picture


def _background(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    begin, end = (np.array(_colour(rng), np.float32) for _ in range(2))
    if rng.random() >= _SHADED:
        end = begin
    share = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    column = (begin + (end - begin) * share).round().astype(np.uint8)
    picture = np.repeat(column[:, None], size, axis=1)
    return picture if rng.random() < 0.5 else np.ascontiguousarray(picture.transpose(1, 0, 2))


def _draw_shape(rng: np.random.Generator, pen: ImageDraw.ImageDraw, side: int) -> None:
    size = side * _FINE
    center = rng.uniform(0, size, 2)
    smallest, largest = (math.log(share) for share in _SHAPE_SIDE)
    half = np.exp(rng.uniform(smallest, largest, 2)) * size / 2
    (left, top), (right, bottom) = center - half, center + half
    box = (left, top, right, bottom)
    fill = _colour(rng)
    ink = _ink(rng)
    width = max(1, round(_FINE * float(np.exp(rng.uniform(*np.log(_LINE_PX))))))
    outline = ink if rng.random() < _OUTLINED else None
    match _KINDS[int(rng.integers(len(_KINDS)))]:
        case "rectangle":
            pen.rectangle(box, fill=fill, outline=outline, width=width)
        case "ellipse":
            pen.ellipse(box, fill=fill, outline=outline, width=width)
        case "rounded":
            radius = float(rng.uniform(0.1, 0.5)) * min(half)
            pen.rounded_rectangle(box, radius, fill=fill, outline=outline, width=width)
        case "polygon":
            corners = center + half * rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2))
            pen.polygon([(float(x), float(y)) for x, y in corners], fill=fill, outline=outline, width=width)
        case "line":
            points = rng.uniform(0, size, (int(rng.integers(2, 5)), 2))
            pen.line([(float(x), float(y)) for x, y in points], fill=ink, width=width, joint="curve")
        case "arc":
            pen.arc(box, float(rng.uniform(0, 180)), float(rng.uniform(200, 360)), fill=ink, width=width)
        case _:
            letters = "".join(rng.choice(list(string.ascii_letters + string.digits + "  .,"), int(rng.integers(1, 24))))
            height = float(np.exp(rng.uniform(*np.log(_LETTER_PX)))) * _FINE
            pen.text((left, top), letters, fill=ink, font=ImageFont.load_default(height))


def _ink(rng: np.random.Generator) -> Colour:
    """Draw the colour of a line: dark for the most part."""
    if rng.random() >= _DARK_LINE:
        return _colour(rng)
    red, green, blue = rng.integers(0, 50, 3).tolist()
    return red, green, blue


def _colour(rng: np.random.Generator) -> Colour:
    """Draw the colour of an area: half of them near gray."""
    middle = rng.uniform(10, 250)
    spread = rng.choice([12.0, 90.0])
    red, green, blue = np.clip(middle + rng.uniform(-spread, spread, 3), 0, 255).round().astype(int).tolist()
    return red, green, blue
