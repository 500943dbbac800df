"""The before/after picture and the side-by-side video: bicubic enlargement on the left, the result on the right.

Made from the finished output, read back, so that what is compared is what the user got.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from starvsr.engine.progress import CancelToken
from starvsr.engine.render import Pixels
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.jobs.outputs import comparison_paths
from starvsr.video import EncodeOptions, VideoReader, VideoWriter
from starvsr.video.pixels import to_8_bits
from starvsr.video.untrusted.limits import OWN_FILES

LARGEST_WIDTH, LARGEST_HEIGHT = 3840, 2160
SHEET_COLUMN = 960
NUM_CROPS = 2
_LINE = 2  # width of the line between the halves

Bytes = NDArray[np.uint8]


def write_comparison(job: Job, num_frames: int, cancel: CancelToken) -> tuple[Path, ...]:
    """Write the picture from the middle frame, and the video unless the output is one image.

    Args:
        job: The finished job.
        num_frames: Frames of its output.
        cancel: Looked at for each frame.

    Returns:
        The files written.
    """
    picture, video = comparison_paths(job.out)
    labels = ("bicubic", job.upscaler.name)
    if num_frames == 1:
        for before, after, _, _ in _read(job):
            _write_sheet(picture, before, after, labels)
        return (picture,)
    half = half_size(job.width, job.height)
    with VideoWriter(
        video,
        source=None,
        width=2 * half[0],
        height=half[1],
        options=EncodeOptions(preset="veryfast"),
        overwrite=job.options.overwrite,
        time_base=job.info.time_base,
        frame_rate=job.info.frame_rate,
    ) as writer:
        for index, (before, after, pts, duration) in enumerate(_read(job)):
            cancel.raise_if_cancelled()
            writer.write(side_by_side(before, after, half, labels), pts, duration)
            if index == num_frames // 2:
                _write_sheet(picture, before, after, labels)
    return picture, video


def half_size(width: int, height: int) -> tuple[int, int]:
    """Return (width, height), both even, of one half of the side-by-side video."""
    share = min(1.0, LARGEST_WIDTH / (2 * width), LARGEST_HEIGHT / height)
    return max(2, int(width * share) // 2 * 2), max(2, int(height * share) // 2 * 2)


def _read(job: Job) -> Iterator[tuple[Bytes, Bytes, int, int]]:
    """Yield each input frame with its result, both uint8 RGB, and the input's time and length in ticks."""
    with (
        closing(open_reader(job.info, job.options)) as before,
        closing(VideoReader(job.out, limits=OWN_FILES)) as after,
    ):
        first: int | None = None
        for one, other in zip(before, after, strict=True):
            first = one.pts if first is None else first
            yield _bytes(one.pixels), _bytes(other.pixels), one.pts - first, one.duration


def _bytes(pixels: Pixels) -> Bytes:
    return to_8_bits(pixels[:, :, :3])


def side_by_side(before: Bytes, after: Bytes, half: tuple[int, int], labels: tuple[str, str]) -> Bytes:
    """Lay both frames beside each other, scaled to ``half`` (width, height), with labels and a line between.

    Returns:
        uint8 [height, 2 * width, 3].
    """
    width, height = half
    canvas = Image.new("RGB", (2 * width, height))
    for column, (pixels, label) in enumerate(zip((before, after), labels, strict=True)):
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(half, Image.Resampling.BICUBIC)
        canvas.paste(picture, (column * width, 0))
        _label(canvas, label, column * width, 0, max(10, height // 30))
    ImageDraw.Draw(canvas).rectangle((width - _LINE // 2, 0, width + _LINE // 2 - 1, height), fill="white")
    return np.asarray(canvas)


def _write_sheet(path: Path, before: Bytes, after: Bytes, labels: tuple[str, str]) -> None:
    from starvsr.video.write.file_names import fitting
    from starvsr.video.write.publish import publish

    sheet = comparison_sheet(before, after, labels)
    partial = fitting(path, path.name, before=".", after=".partial.png")
    try:
        sheet.save(partial)
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def comparison_sheet(before: Bytes, after: Bytes, labels: tuple[str, str]) -> Image.Image:
    """Draw the whole frames side by side, and below them the parts with most detail, enlarged.

    Args:
        before: uint8 [h, w, 3], the input.
        after: uint8 [H, W, 3], the result.
        labels: Names of the two columns.
    """
    return contact_sheet(before, {labels[1]: after}, labels[0])


def contact_sheet(before: Bytes, results: Mapping[str, Bytes], enlarged: str = "bicubic") -> Image.Image:
    """Draw results of one frame side by side, and below them the parts with most detail, enlarged.

    Args:
        before: uint8 [h, w, 3], the input; its bicubic enlargement is the first column.
        results: uint8 [H, W, 3] each, all of one size, by what is written on their columns.
        enlarged: What is written on the first column.
    """
    height, width = next(iter(results.values())).shape[:2]
    bicubic = Image.fromarray(np.ascontiguousarray(before)).resize((width, height), Image.Resampling.BICUBIC)
    columns = [(enlarged, bicubic)]
    columns += [(label, Image.fromarray(np.ascontiguousarray(after))) for label, after in results.items()]
    boxes = [(0, 0, width, height), *detailed_boxes(before, width, height)]
    column = min(SHEET_COLUMN, max(width, 160))
    rows = [round(column * (box[3] - box[1]) / (box[2] - box[0])) for box in boxes]
    size = (len(columns) * (column + _LINE) - _LINE, sum(rows) + _LINE * (len(rows) - 1))
    sheet = Image.new("RGB", size, "white")
    top = 0
    for box, row in zip(boxes, rows, strict=True):
        for number, (label, picture) in enumerate(columns):
            place = number * (column + _LINE)
            grows = box[2] - box[0] < column
            filter_ = Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS
            sheet.paste(picture.crop(box).resize((column, max(1, row)), filter_), (place, top))
            _label(sheet, label, place, top, max(10, column // 40))
        top += row + _LINE
    return sheet


def detailed_boxes(before: Bytes, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return the parts of the output (left, top, right, bottom) where the input has most detail, not overlapping."""
    luma = before.sum(axis=2, dtype=np.int64)  # whole numbers: the same boxes on every processor
    detail = np.abs(np.diff(luma, axis=0, prepend=luma[:1])) + np.abs(np.diff(luma, axis=1, prepend=luma[:, :1]))
    box_w, box_h = max(1, before.shape[1] // 4), max(1, before.shape[0] // 4)
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    score = sums[box_h:, box_w:] - sums[:-box_h, box_w:] - sums[box_h:, :-box_w] + sums[:-box_h, :-box_w]
    boxes = []
    for _ in range(NUM_CROPS):
        y, x = np.unravel_index(int(score.argmax()), score.shape)
        if score[y, x] < 0:
            break
        score[max(0, y - box_h + 1) : y + box_h, max(0, x - box_w + 1) : x + box_w] = -1
        across, down = width / before.shape[1], height / before.shape[0]
        boxes.append((round(x * across), round(y * down), round((x + box_w) * across), round((y + box_h) * down)))
    return boxes


def _label(picture: Image.Image, text: str, left: int, top: int, size: int) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(size)
    box = draw.textbbox((left + size // 2, top + size // 2), text, font=font)
    margin = size // 4
    draw.rectangle((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin), fill=(0, 0, 0, 150))
    draw.text((left + size // 2, top + size // 2), text, font=font, fill="white")
