"""Draw the curve of a training as a small picture, from the log that `starvsr train` keeps.

    python -m benchmarks.training_curve RUN/log.jsonl --value prediction -o docs/images/curve.png [--mean 25]
            [--title TITLE]

Gray dots are the values as they were logged (each a mean of the steps since the one before), the line is their mean
over ``--mean`` of them. Losses that depend on a random timestep scatter by far more than they fall.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE, LEFT, TOP, RIGHT, BOTTOM = (640, 320), 64, 36, 16, 40
INK, FAINT, LINE, DOT = (40, 40, 40), (225, 225, 225), (20, 90, 180), (175, 175, 175)
Points = list[tuple[float, float]]


def read_log(path: Path, value: str) -> Points:
    """Return (step, value) of all lines that have it.

    Raises:
        SystemExit: No line has it, or the file is no such log.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot read {path}: {error}") from error
    found = [(float(line["step"]), float(line[value])) for line in lines if value in line]
    if len(found) < 2:
        names = sorted({name for line in lines for name, each in line.items() if isinstance(each, float)})
        raise SystemExit(f"{path} has no curve of {value!r}: it has {', '.join(names) or 'nothing'}")
    return found


def running_mean(points: Points, count: int) -> Points:
    """Return the mean of each ``count`` points in a row, at the middle of their steps."""
    count = min(count, len(points))
    rows = [points[start : start + count] for start in range(len(points) - count + 1)]
    return [((row[0][0] + row[-1][0]) / 2, sum(value for _, value in row) / count) for row in rows]


def ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers between two bounds."""
    width = 10 ** math.floor(math.log10(high - low))
    step = next(step for step in (width / 5, width / 2, width, 2 * width) if (high - low) / step <= 7)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def draw(points: Points, mean: Points, title: str) -> Image.Image:
    """Return the picture."""
    picture = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    values = sorted(value for _, value in points)
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = points[-1][0]

    def place(step: float, value: float) -> tuple[float, float]:
        across = LEFT + (SIZE[0] - LEFT - RIGHT) * step / last
        return across, TOP + (SIZE[1] - TOP - BOTTOM) * (high - value) / (high - low)

    for value in ticks(low, high):
        _, y = place(0, value)
        pen.line([(LEFT, y), (SIZE[0] - RIGHT, y)], FAINT)
        pen.text((LEFT - 8, y), f"{value:.3g}", INK, font, anchor="rm")
    for step in ticks(0, last):
        pen.text((place(step, 0)[0], SIZE[1] - BOTTOM + 8), f"{step:.0f}", INK, font, anchor="ma")
    for point in points:
        x, y = place(*point)
        pen.ellipse([(x - 1, y - 1), (x + 1, y + 1)], DOT)
    for one, other in pairwise(mean):
        pen.line([place(*one), place(*other)], LINE, 2)
    pen.text((LEFT, 10), title, INK, font)
    return picture


def main(arguments: list[str] | None = None) -> int:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--value", required=True, help="name of a number in the log, as prediction or pixel")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--mean", type=int, default=25)
    parser.add_argument("--title")
    given = parser.parse_args(arguments)
    points = read_log(given.log, given.value)
    mean = running_mean(points, given.mean)
    draw(points, mean, given.title or given.value).convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(
        given.output, optimize=True
    )
    print(f"{given.value}: mean {mean[0][1]:.4f} at step {mean[0][0]:.0f}, {mean[-1][1]:.4f} at step {mean[-1][0]:.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
