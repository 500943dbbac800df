"""ILNIQE: how far a picture's local statistics are from those of photographs, block by block. Needs no ground truth.

More features than NIQE's (colours, gradients, log-Gabor responses), and each block is compared on its own. It shares
NIQE's weakness: it can be pleased by sharpening and by texture that a network invents.

Source: Zhang, Zhang, Bovik 2015, "A Feature-Enriched Completely Blind Image Quality Evaluator".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from starvsr.errors import MissingWeightsError, OptionError, WeightsError
from starvsr.metrics.ilniqe_features import FEATURES_PER_SCALE, halved, opponent_colors, scale_features
from starvsr.metrics.metric import ByteArray, FrameSet, Metric, per_frame
from starvsr.models.weights.metric_files import find_metric_file

FloatArray = npt.NDArray[np.float64]

SIDE_PX, BLOCK_PX, _SCALES = 524, 84, (1, 2)
NUM_FEATURES = FEATURES_PER_SCALE * len(_SCALES)
_LARGEST_FEATURE = 10_000.0
_LEAST_PX = 32


@dataclass(frozen=True)
class Template:
    """Statistics of photographs.

    Args:
        mean: of the projected features, float64 [K].
        covariance: of them, float64 [K, K].
        sample_mean: of the features before they are projected, float64 [468].
        components: principal components, float64 [468, K].
    """

    mean: FloatArray
    covariance: FloatArray
    sample_mean: FloatArray
    components: FloatArray


def load_template(path: Path | None = None) -> Template:
    """Read the statistics that were published with ILNIQE.

    Args:
        path: a file "ILNIQE_templateModel.mat"; None looks for it.

    Raises:
        MissingWeightsError: The file is not on this machine, its terms are not accepted yet, or SciPy is missing.
        WeightsError: The file is damaged or holds something else.
    """
    path = path or find_metric_file("ilniqe-template", "ILNIQE")
    _require_scipy()
    from scipy.io import loadmat

    try:
        cell = loadmat(path)["templateModel"].ravel()
        mean, covariance, sample_mean, components = (np.asarray(one, np.float64) for one in cell)
    except Exception as error:  # a damaged file fails in many ways
        raise WeightsError(f"{path} does not hold the template of ILNIQE ({error}): get it again") from error
    count = mean.size
    shapes = (covariance.shape, sample_mean.size, components.shape)
    if shapes != ((count, count), NUM_FEATURES, (NUM_FEATURES, count)):
        raise WeightsError(
            f"{path} does not hold the template of ILNIQE: the shapes of its parts are {mean.shape}, "
            f"{covariance.shape}, {sample_mean.shape}, {components.shape}; get it again"
        )
    return Template(mean.ravel(), covariance, sample_mean.ravel(), components)


def ilniqe(frames: ByteArray, *, crop_px: int = 0, template: Template | None = None) -> FloatArray:
    """Compute ILNIQE of each frame.

    Frames are resized to 524x524 px (bicubic with antialiasing, aspect not kept) and cut into 36 blocks of 84x84 px,
    compared at full and half size. Computed in float64.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        crop_px: pixels cut from each border first.
        template: statistics to compare with; None loads the published ones.

    Returns:
        float64 [T]; smaller is more natural. NaN for a frame none of whose blocks has all statistics (black).

    Raises:
        OptionError: A side is below 32 px after the crop.
        MissingWeightsError: as :func:`load_template`.
    """
    template = template or _published()
    inner = frames[:, crop_px : frames.shape[1] - crop_px, crop_px : frames.shape[2] - crop_px]
    return np.array([_distance(block_features(frame), template) for frame in inner], np.float64)


def block_features(frame: ByteArray) -> FloatArray:
    """Compute the features of the 36 blocks of a frame, uint8 [H, W, 3] RGB.

    Returns:
        [36, 468], at most 10,000; NaN where a statistic has no value.

    Raises:
        OptionError: A side is below 32 px.
    """
    height, width = frame.shape[:2]
    if min(height, width) < _LEAST_PX:
        raise OptionError(
            f"ILNIQE needs frames of at least {_LEAST_PX}x{_LEAST_PX} px after the crop, not {width}x{height}"
        )
    vertical, horizontal = resize_weights(height, SIDE_PX), resize_weights(width, SIDE_PX)
    picture = np.einsum("yh,hwc,xw->cyx", vertical, frame.astype(np.float64), horizontal, optimize=True).clip(0, 255)
    count = SIDE_PX // BLOCK_PX
    picture = picture[:, : count * BLOCK_PX, : count * BLOCK_PX]
    opponent = opponent_colors(picture)
    found = []
    for scale in _SCALES:
        found.append(scale_features(picture, opponent, scale, count, count))
        picture, opponent = halved(picture), halved(opponent)
    with np.errstate(invalid="ignore"):
        return np.minimum(np.concatenate(found, axis=1), _LARGEST_FEATURE)


def resize_weights(before: int, after: int) -> FloatArray:
    """Return the matrix [after, before] that resizes a row of pixels as MATLAB's imresize does.

    Bicubic (a = -0.5), widened where pixels get fewer, mirrored at the borders.
    """
    scale = after / before
    reach = min(scale, 1.0)
    taps = math.ceil(4 / reach) + 2
    centers = (np.arange(after) + 0.5) / scale - 0.5
    first = np.floor(centers - 2 / reach).astype(np.int64)
    places = first[:, None] + np.arange(taps)
    distances = np.abs(centers[:, None] - places) * reach
    weights = np.where(
        distances <= 1,
        1.5 * distances**3 - 2.5 * distances**2 + 1,
        np.where(distances <= 2, -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2, 0),
    )
    weights /= weights.sum(1, keepdims=True)
    mirrored = places % (2 * before)
    mirrored = np.where(mirrored < before, mirrored, 2 * before - 1 - mirrored)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after)[:, None], mirrored), weights)
    return matrix


def _distance(features: FloatArray, template: Template) -> float:
    """Return the mean over blocks of the distance to the photographs' statistics."""
    projected = (features - template.sample_mean) @ template.components
    is_known = ~np.isnan(projected)
    whole = projected[is_known.all(axis=1)]
    if not len(whole):
        return math.nan
    covariance = np.cov(whole, rowvar=False) if len(whole) > 1 else np.zeros_like(template.covariance)
    middle = np.where(is_known, projected, 0).sum(0) / is_known.sum(0)
    away = np.where(is_known, projected, middle) - template.mean
    joint = (template.covariance + covariance) / 2
    inverse = np.linalg.pinv(joint, rcond=len(joint) * np.finfo(np.float64).eps, hermitian=True)
    return float(np.sqrt(np.maximum(np.einsum("nk,kl,nl->n", away, inverse, away, optimize=True), 0)).mean())


@lru_cache(maxsize=1)
def _published() -> Template:
    return load_template()


def _require_scipy() -> None:
    if find_spec("scipy") is None:
        raise MissingWeightsError(
            "ILNIQE reads its template with SciPy, which is not installed: pip install 'starvsr[eval]'"
        )


def _require() -> None:
    find_metric_file("ilniqe-template", "ILNIQE")
    _require_scipy()


def _compute(frame: FrameSet) -> float:
    return float(ilniqe(frame.hq[None])[0])


ILNIQE = Metric(
    name="ilniqe",
    unit="",
    higher_is_better=False,
    needs=frozenset(),
    protocol="RGB resized to 524x524 px (bicubic, antialiased), 84x84 px blocks, two scales, float64",
    compute=per_frame(_compute),
    weights="template ILNIQE_templateModel.mat",
    requires=_require,
)
