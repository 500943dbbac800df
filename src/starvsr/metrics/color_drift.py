"""Colour of whole frames: how far it is from the reference's, and how it drifts in the course of a clip.

Networks with feedback, and models that normalize each window by itself, keep every frame plausible and still change its
tint; fidelity per pixel hardly sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from starvsr.metrics.metric import ByteArray, Compute, FrameSet, Metric, Need, per_frame

FloatArray = npt.NDArray[np.float64]


def mean_lab(pixels: ByteArray) -> FloatArray:
    """Return the mean CIELAB colour [3] (D65) of an sRGB frame, uint8 [H, W, 3].

    Source: IEC 61966-2-1 and CIE 15.
    """
    value = pixels[..., :3].astype(np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
    return np.asarray(lab.reshape(-1, 3).mean(0, dtype=np.float64))


def ciede2000(one: FloatArray, other: FloatArray) -> float:
    """Return the colour difference of two CIELAB colours [3].

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula" (2005).
    """
    chroma = (np.hypot(*one[1:]) + np.hypot(*other[1:])) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    (l1, a1, b1), (l2, a2, b2) = one, other
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2
    if not c1 * c2:
        hue = h1 + h2
    light, c = (l1 + l2) / 2, (c1 + c2) / 2
    rad = np.radians
    t = 1 - 0.17 * np.cos(rad(hue - 30)) + 0.24 * np.cos(rad(2 * hue))
    t += 0.32 * np.cos(rad(3 * hue + 6)) - 0.20 * np.cos(rad(4 * hue - 63))
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(rad(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    dl = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * c)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(rad(turn) / 2) / (1 + 0.015 * c * t)
    return float(np.sqrt(max(0.0, dl**2 + dc**2 + dh**2 + rotation * dc * dh)))


def _drift(reference: Callable[[FrameSet], ByteArray]) -> Compute:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        offset: FloatArray | None = None
        for frame in frames:
            wanted, made = mean_lab(reference(frame)), mean_lab(frame.hq)
            yield float("nan") if offset is None else ciede2000(wanted + offset, made)
            offset = made - wanted if offset is None else offset

    return compute


def _drift_metric(name: str, need: Need, reference: Callable[[FrameSet], ByteArray], words: str) -> Metric:
    return Metric(
        name=name,
        unit="CIEDE2000",
        higher_is_better=False,
        needs=frozenset({need}),
        protocol=f"CIEDE2000 of the mean colour since the first frame, beyond that of {words}, CIELAB D65 of sRGB",
        compute=_drift(reference),
    )


def _error_metric(name: str, need: Need, reference: Callable[[FrameSet], ByteArray]) -> Metric:
    return Metric(
        name=name,
        unit="CIEDE2000",
        higher_is_better=False,
        needs=frozenset({need}),
        protocol="CIEDE2000 between the mean colours of the frames, CIELAB D65 of sRGB",
        compute=per_frame(lambda frame: ciede2000(mean_lab(reference(frame)), mean_lab(frame.hq))),
        of_single_frames=True,
    )


COLOR_ERROR = _error_metric("color_error_de00", "gt", lambda frame: frame.gt)
COLOR_ERROR_LQ = _error_metric("color_error_lq_de00", "lq", lambda frame: frame.lq)
COLOR_DRIFT = _drift_metric("color_drift_de00", "gt", lambda frame: frame.gt, "the ground truth")
COLOR_DRIFT_LQ = _drift_metric("color_drift_lq_de00", "lq", lambda frame: frame.lq, "the input")
