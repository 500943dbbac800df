"""Media in and out: probe, read, write, pixel ranges, scene cuts. Knows nothing of networks.

The names below are imported on first use, so that ``import starvsr.video`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starvsr.video.info import ColorTags as ColorTags
    from starvsr.video.info import StreamInfo as StreamInfo
    from starvsr.video.info import VideoInfo as VideoInfo
    from starvsr.video.read.probe import probe as probe
    from starvsr.video.read.reader import VideoFrame as VideoFrame
    from starvsr.video.read.reader import VideoReader as VideoReader
    from starvsr.video.scenes import SceneDetector as SceneDetector
    from starvsr.video.write.encoders import EncodeOptions as EncodeOptions
    from starvsr.video.write.encoders import probe_encoder as probe_encoder
    from starvsr.video.write.writer import VideoWriter as VideoWriter

_HOMES = {
    "ColorTags": "info",
    "EncodeOptions": "write.encoders",
    "SceneDetector": "scenes",
    "StreamInfo": "info",
    "VideoFrame": "read.reader",
    "VideoInfo": "info",
    "VideoReader": "read.reader",
    "VideoWriter": "write.writer",
    "probe": "read.probe",
    "probe_encoder": "write.encoders",
}

__all__ = [
    "ColorTags",
    "EncodeOptions",
    "SceneDetector",
    "StreamInfo",
    "VideoFrame",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "probe",
    "probe_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
