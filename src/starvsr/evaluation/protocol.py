"""All that values depend on beside the clips, for the record."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from starvsr.evaluation.scoring import Measuring
from starvsr.evaluation.statistics import NUM_DRAWS
from starvsr.metrics.frame_sets import Preparing
from starvsr.metrics.metric import Metric
from starvsr.version import __version__

_LIBRARIES = (
    "numpy",
    "torch",
    "torchvision",
    "av",
    "opencv-python-headless",
    "imageio-ffmpeg",
    "h5py",
    "pyiqa",
    "pillow",
)


def protocol_of(metrics: Sequence[Metric], measuring: Measuring, *, allow_shift: bool) -> dict[str, Any]:
    """Return what has to be known before values are compared with others."""
    versions = {"starvsr": __version__, "python": platform.python_version()}
    versions |= {name: version for name in _LIBRARIES if (version := _version(name)) is not None}
    return {
        "frames": "all, in presentation order, 8-bit RGB (more bits rounded)",
        "means": "over frames, then over clips",
        "intervals": f"95 %, percentile bootstrap over clips, {NUM_DRAWS} draws",
        **Preparing(metrics, measuring.crop_px, measuring.flow, measuring.flow_source).protocol(),
        "shift_allowed": allow_shift,
        "device": measuring.device,
        "versions": versions,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
