"""starvsr: real-world video to sharp, steady video at four times the size.

    import starvsr
    result = starvsr.upscale("clip.mp4", "clip_x4.mp4")

The names below are imported on first use, so that ``import starvsr`` loads no torch. If torch is not loaded yet, its
threads are told to sleep where they wait (processors.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from starvsr.processors import wait_asleep
from starvsr.version import __version__

if TYPE_CHECKING:
    from starvsr.api import UpscaleJob as UpscaleJob
    from starvsr.api import load_pipeline as load_pipeline
    from starvsr.api import load_upscaler as load_upscaler
    from starvsr.api import prepare as prepare
    from starvsr.api import upscale as upscale
    from starvsr.engine.clip_upscaler import FunctionUpscaler as FunctionUpscaler
    from starvsr.engine.progress import CancelToken as CancelToken
    from starvsr.engine.progress import Progress as Progress
    from starvsr.engine.progress import UpscaleResult as UpscaleResult
    from starvsr.errors import StarVsrError as StarVsrError
    from starvsr.families.options import UpscaleOptions as UpscaleOptions
    from starvsr.previewing import open_preview as open_preview
    from starvsr.streaming import open_stream as open_stream
    from starvsr.streaming import stream as stream
    from starvsr.video import VideoInfo as VideoInfo
    from starvsr.video import probe as probe

_HOMES = {
    "CancelToken": "starvsr.engine.progress",
    "FunctionUpscaler": "starvsr.engine.clip_upscaler",
    "Progress": "starvsr.engine.progress",
    "StarVsrError": "starvsr.errors",
    "UpscaleJob": "starvsr.api",
    "UpscaleOptions": "starvsr.families.options",
    "UpscaleResult": "starvsr.engine.progress",
    "VideoInfo": "starvsr.video",
    "errors": "starvsr.errors",
    "load_pipeline": "starvsr.api",
    "load_upscaler": "starvsr.api",
    "open_preview": "starvsr.previewing",
    "open_stream": "starvsr.streaming",
    "prepare": "starvsr.api",
    "probe": "starvsr.video",
    "stream": "starvsr.streaming",
    "upscale": "starvsr.api",
}

__all__ = [
    "CancelToken",
    "FunctionUpscaler",
    "Progress",
    "StarVsrError",
    "UpscaleJob",
    "UpscaleOptions",
    "UpscaleResult",
    "VideoInfo",
    "__version__",
    "load_pipeline",
    "load_upscaler",
    "open_preview",
    "open_stream",
    "prepare",
    "probe",
    "stream",
    "upscale",
]


wait_asleep()  # here, because the thread library reads it when torch is loaded


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_HOMES[name])
    return module if name == "errors" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
