"""Overlapping windows along any axis: where they lie, which part each one keeps, how they blend.

Pure integers and floats; knows nothing of tensors, frames or pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from starvsr.errors import OptionError

Blend = Literal["cut", "linear", "cosine"]
"""How neighbouring windows join: hard cuts in the middle of the overlap, or a ramp across it."""

STRETCH = 0.25
"""How much longer than a window the last (or only) window may be before another one is opened."""


@dataclass(frozen=True)
class Window:
    """A range [start, stop) to work on; [keep_start, keep_stop) of it is kept. Counted on the whole axis."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def length(self) -> int:
        """Size of the worked range."""
        return self.stop - self.start

    @property
    def kept(self) -> slice:
        """The kept part, counted from `start`."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def split_windows(length: int, window: int, overlap: int, *, stretch: float = 0.0) -> list[Window]:
    """Cover an axis with windows of one size, spread evenly.

    Kept parts meet in the middle of each overlap and cover each index exactly once.

    Args:
        length: size of the axis, >= 1.
        window: size of every window; a shorter axis gives one window of its own size.
        overlap: least overlap of neighbours, 0 <= overlap < window. Even spreading may enlarge it.
        stretch: an axis up to `window * (1 + stretch)` long is left in one piece.

    Returns:
        Windows in order.

    Raises:
        OptionError: a size is out of range.
    """
    _check(length, window, overlap)
    if length <= window * (1 + stretch):
        return [Window(0, length, 0, length)]
    count = -(-(length - overlap) // (window - overlap))
    starts = [i * (length - window) // (count - 1) for i in range(count)]
    return _keep_to_middle([(start, start + window) for start in starts])


def blended_windows(length: int, window: int) -> list[Window]:
    """Place windows for blending: a quarter or more overlaps the next; 1.25 windows stay in one piece."""
    return split_windows(length, window, min(max(window // 4, 1), window - 1), stretch=STRETCH)


def released_overlap(window: int) -> int:
    """Overlap that the released STAR code uses for a window: half of it, rounded its own way."""
    return int((0.5 * window - 1) // 1 + 1)


def released_windows(length: int, window: int, overlap: int | None = None) -> list[Window]:
    """Place windows as the released STAR code does, for exact reproduction.

    Fixed stride; the last window takes what is left, up to 1.25 windows. Every join is cut `overlap // 2`
    after the later window's start, also where the last two windows overlap more. A length that fits one
    window is left in one piece (for window + 1 .. 1.25 window frames the released code stops with an index
    error instead).

    Args:
        length: size of the axis, >= 1.
        window: nominal window size.
        overlap: None means `released_overlap(window)`.

    Raises:
        OptionError: a size is out of range.
    """
    overlap = released_overlap(window) if overlap is None else overlap
    _check(length, window, overlap)
    spans, start = [], 0
    while start + (1 + STRETCH) * window < length:
        spans.append((start, start + window))
        start += window - overlap
    spans.append((start, length))
    cuts = [0, *(start + overlap // 2 for start, _ in spans[1:]), length]
    return [Window(*span, *kept) for span, kept in zip(spans, pairwise(cuts), strict=True)]


def blend_weights(windows: Sequence[Window], blend: Blend = "linear") -> list[list[float]]:
    """Weight of every index of every window, so that the weights of each index sum to 1 over the windows.

    Args:
        windows: in order, covering the axis, as the functions above give them.
        blend: "linear" or "cosine" ramps over the overlaps; "cut" gives 1 to the kept part and 0 elsewhere.

    Returns:
        One list per window, as long as the window.
    """
    if blend == "cut":
        return [[float(w.keep_start <= i < w.keep_stop) for i in range(w.start, w.stop)] for w in windows]
    raw = []
    for i, w in enumerate(windows):
        rise = windows[i - 1].stop - w.start if i else 0
        fall = w.stop - windows[i + 1].start if i + 1 < len(windows) else 0
        raw.append([min(_ramp(j, rise, blend), _ramp(w.length - 1 - j, fall, blend)) for j in range(w.length)])
    totals = [0.0] * windows[-1].stop
    for w, weights in zip(windows, raw, strict=True):
        for j, weight in enumerate(weights):
            totals[w.start + j] += weight
    return [[x / totals[w.start + j] for j, x in enumerate(ws)] for w, ws in zip(windows, raw, strict=True)]


def _ramp(distance: int, width: int, blend: Blend) -> float:
    """Height of a ramp of `width` steps, `distance` steps from its foot; two opposite ramps sum to 1."""
    if distance >= width:
        return 1.0
    height = (distance + 0.5) / width
    return math.sin(0.5 * math.pi * height) ** 2 if blend == "cosine" else height


def _keep_to_middle(spans: Sequence[tuple[int, int]]) -> list[Window]:
    cuts = [(right[0] + left[1]) // 2 for left, right in pairwise(spans)]
    edges = [spans[0][0], *cuts, spans[-1][1]]
    return [Window(*span, *kept) for span, kept in zip(spans, pairwise(edges), strict=True)]


def _check(length: int, window: int, overlap: int) -> None:
    if length < 1:
        raise OptionError(f"nothing to cut into windows: the length is {length}, at least 1 is needed")
    if window < 1:
        raise OptionError(f"a window must hold at least 1 frame, not {window}")
    if not 0 <= overlap < window:
        raise OptionError(f"an overlap of {overlap} does not fit a window of {window}: use 0 to {window - 1}")
