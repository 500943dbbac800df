"""DOVER's scores of a clip: views drawn over one pass, scored by the networks, averaged, fused.

Source: Wu et al. 2023 (arXiv 2211.04894); scales of the fusion as in the published code.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from starvsr.errors import OptionError
from starvsr.metrics.dover.network import VIEWS, Dover, View, load_dover
from starvsr.metrics.dover.sampling import RunSampler, SegmentSampler
from starvsr.metrics.dover.views import FragmentGrid, aesthetic_view, draw_grid, enlarged
from starvsr.metrics.metric import ByteArray

DRAWS, SEED = 4, 0
RUNS = 3
"""Runs of frames of a draw that the technical view looks at."""

_CENTRE = {"technical": 0.1107, "aesthetic": -0.08285}
_SPREAD = {"technical": 0.07355, "aesthetic": 0.03774}
_SHARE = {"technical": 0.6104, "aesthetic": 0.3896}
_REMEMBERED = 64

Score = Callable[[ByteArray, View], float]
"""Gives the raw score of a view, uint8 [32, 224, 224, 3]."""


@dataclass(frozen=True)
class DoverScores:
    """What the networks say of a clip.

    Args:
        technical: raw score of the technical view, averaged over runs and draws; NaN if it was not asked for.
        aesthetic: raw score of the aesthetic view, averaged over draws; NaN likewise.
    """

    technical: float
    aesthetic: float

    @property
    def technical_quality(self) -> float:
        """The technical score from 0 to 1."""
        return _sigmoid(_standard(self.technical, "technical"))

    @property
    def aesthetic_quality(self) -> float:
        """The aesthetic score from 0 to 1."""
        return _sigmoid(_standard(self.aesthetic, "aesthetic"))

    @property
    def overall(self) -> float:
        """The fused score from 0 to 1: the standardised scores, 0.6104 technical and 0.3896 aesthetic."""
        technical, aesthetic = _standard(self.technical, "technical"), _standard(self.aesthetic, "aesthetic")
        return _sigmoid(_SHARE["technical"] * technical + _SHARE["aesthetic"] * aesthetic)


def _standard(raw: float, view: View) -> float:
    return (raw - _CENTRE[view]) / _SPREAD[view]


def _sigmoid(value: float) -> float:
    return value if math.isnan(value) else 1 / (1 + math.exp(-min(max(value, -700.0), 700.0)))


class ClipSampler:
    """Draws the views of a clip while its frames pass.

    Memory does not grow with the clip: about 15 MB for each run of the technical view and 20 MB for each draw of the
    aesthetic one.

    Args:
        draws: how often the published sampling is repeated.
        seed: of the draws; the same views come from the same seed and frames.
        views: which ones.

    Raises:
        OptionError: `draws` or `seed` is out of range.
    """

    def __init__(self, draws: int = DRAWS, seed: int = SEED, views: Sequence[View] = VIEWS) -> None:
        if draws < 1 or seed < 0:
            raise OptionError(f"DOVER takes at least 1 draw and a seed of at least 0, not draws={draws}, seed={seed}")
        self._views = views
        self._places = [
            [np.random.default_rng([seed, draw, 0, run]) for run in range(RUNS)] for draw in range(draws)
        ]  # of fragments
        self._runs = [
            [RunSampler(np.random.default_rng([seed, draw, 1, run])) for run in range(RUNS)] for draw in range(draws)
        ]
        self._segments = [SegmentSampler(np.random.default_rng([seed, draw, 2])) for draw in range(draws)]
        self._grids: list[list[FragmentGrid]] = []
        self._size: tuple[int, ...] | None = None

    def take(self, frame: ByteArray) -> None:
        """Take the next frame, uint8 [H, W, 3] RGB.

        Raises:
            OptionError: A side is below 32 px, or the frame has another size than the first one.
        """
        if self._size is None:
            self._size = frame.shape
            height, width = frame.shape[:2]
            self._grids = [[draw_grid(height, width, rng) for rng in places] for places in self._places]
        if frame.shape != self._size:
            raise OptionError(f"DOVER needs frames of one size: one is {frame.shape}, the first is {self._size}")
        if "aesthetic" in self._views:
            small = lru_cache(maxsize=1)(lambda: aesthetic_view(frame))
            for segment in self._segments:
                segment.take(small)
        if "technical" in self._views:
            large = lru_cache(maxsize=1)(lambda: enlarged(frame))
            for runs, grids in zip(self._runs, self._grids, strict=True):
                for run, grid in zip(runs, grids, strict=True):
                    run.take(lambda grid=grid: grid.cut(large()))  # type: ignore[misc]

    def drawn(self, view: View) -> list[list[ByteArray]]:
        """Return what was drawn of a view.

        Returns:
            For each draw the runs (3 technical ones, 1 aesthetic one), each uint8 [32, 224, 224, 3].
        """
        if view == "technical":
            return [[np.stack(run.frames()) for run in runs] for runs in self._runs]
        return [[np.stack(segment.frames())] for segment in self._segments]

    def scores(self, score: Score) -> DoverScores:
        """Score what was drawn; of a clip without frames there is nothing to score."""
        means = {view: math.nan for view in VIEWS}
        for view in self._views if self._size is not None else ():
            raw = [score(clip, view) for draw in self.drawn(view) for clip in draw]
            means[view] = sum(raw) / len(raw)
        return DoverScores(**means)


def dover(
    frames: Iterable[ByteArray],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    views: Sequence[View] = VIEWS,
    network: Dover | None = None,
    device: str = "cpu",
) -> DoverScores:
    """Compute DOVER of a clip of any length, read once in order.

    Args:
        frames: uint8 [H, W, 3] RGB each, sides of at least 32 px; or an array [T, H, W, 3].
        draws: how often frames and fragments are drawn; scores are averaged. The published code draws once, without a
            seed that would reach its generators.
        seed: of the draws.
        views: which networks are asked.
        network: None loads the published weights.
        device: where it computes, if it is loaded here.

    Returns:
        Raw scores, and what they make: each view from 0 to 1, and the fused overall score. Higher is better.

    Raises:
        OptionError: A frame is too small or of another size, or `draws` or `seed` is out of range.
        MissingWeightsError: as :func:`~starvsr.metrics.dover.network.load_dover`.
    """
    sampler = ClipSampler(draws, seed, views)
    for frame in frames:
        sampler.take(frame)
    return sampler.scores(remembering(network) if network is not None else published(device))


def remembering(network: Dover) -> Score:
    """Make a function of views of a network, which scores a view that it has seen lately without computing it again.

    The technical, the aesthetic and the overall score of a clip look at the same views.
    """
    known: OrderedDict[tuple[View, bytes], float] = OrderedDict()
    lock = threading.Lock()

    def score(clip: ByteArray, view: View) -> float:
        key = (view, hashlib.sha256(clip.tobytes()).digest())
        with lock:
            if key not in known:
                with torch.inference_mode():
                    known[key] = float(network(torch.from_numpy(clip[None]), view)[0])
                if len(known) > _REMEMBERED:
                    known.popitem(last=False)
            return known[key]

    return score


@lru_cache(maxsize=2)
def published(device: str) -> Score:
    """Load the published network, once."""
    return remembering(load_dover(device))
