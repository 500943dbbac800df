"""A stand-in for VapourSynth's core, for Pythons that it has no wheels for: its nodes, evaluated one by one.

Made from the documentation of the functions it has. As in the core, a node without a cache makes a frame each time that
it is asked for one, functions refuse what the core's refuse, and what a callback raises comes out as `Error`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np


class Error(Exception):
    pass


@dataclass(frozen=True)
class Format:
    id: int
    name: str
    color_family: int
    dtype: type


RGB, YUV = 2, 3
RGB24, RGB48, RGBH, RGBS, YUV420P8 = range(1, 6)
_FORMATS = {
    RGB24: Format(RGB24, "RGB24", RGB, np.uint8),
    RGB48: Format(RGB48, "RGB48", RGB, np.uint16),
    RGBH: Format(RGBH, "RGBH", RGB, np.float16),
    RGBS: Format(RGBS, "RGBS", RGB, np.float32),
    YUV420P8: Format(YUV420P8, "YUV420P8", YUV, np.uint8),
}


class VideoFrame:
    """Planes that can be written in a copy only."""

    def __init__(self, planes, props, writable=False):
        self._planes, self.props = planes, props
        for plane in planes:
            plane.setflags(write=writable)

    def __getitem__(self, plane):
        return self._planes[plane]

    def copy(self):
        return VideoFrame([plane.copy() for plane in self._planes], dict(self.props), writable=True)


class VideoNode:
    def __init__(self, form, width, height, num_frames, make):
        self.format, self.width, self.height, self.num_frames = form, width, height, num_frames
        self._make, self._lock, self._cache, self._size = make, threading.RLock(), OrderedDict(), 0

    @property
    def std(self):
        bound = {name: (lambda *a, f=f, **k: f(self, *a, **k)) for name, f in _FUNCTIONS.items()}
        return SimpleNamespace(**bound)

    def get_frame(self, n):
        if not 0 <= n < self.num_frames:
            raise Error("frame number out of range")
        with self._lock:
            if n not in self._cache:
                try:
                    self._cache[n] = self._make(n)
                except Error:
                    raise
                except Exception as error:
                    raise Error(str(error)) from error
            frame = self._cache[n]
            self._cache.move_to_end(n)
            while len(self._cache) > self._size:
                self._cache.popitem(last=False)
            return frame


def _blank(clip=None, width=None, height=None, format=None, length=None, keep=False):
    form = _FORMATS[format] if format is not None else clip.format
    width, height = width or clip.width, height or clip.height
    planes = [np.zeros((height, width), form.dtype) for _ in range(3)]
    props = {"_DurationNum": 1, "_DurationDen": 24}
    return VideoNode(form, width, height, length or clip.num_frames, lambda n: VideoFrame(planes, props))


def _modify(clip, clips, selector):
    clips = clips if isinstance(clips, list) else [clips]
    assert all(other.num_frames >= clip.num_frames for other in clips)

    def make(n):
        frames = [other.get_frame(n) for other in clips]
        made = selector(n=n, f=frames if len(frames) > 1 else frames[0])
        assert made[0].shape == (clip.height, clip.width) and made[0].dtype == clip.format.dtype
        return VideoFrame(made._planes, made.props)

    return VideoNode(clip.format, clip.width, clip.height, clip.num_frames, make)


def _loop(clip, times):
    return VideoNode(
        clip.format, clip.width, clip.height, times * clip.num_frames, lambda n: clip.get_frame(n % clip.num_frames)
    )


def _select(clip, cycle, offsets, modify_duration=True):
    if cycle <= 1:
        raise Error("SelectEvery: invalid cycle size (must be greater than 1)")
    if not offsets or any(not 0 <= offset < cycle for offset in offsets):
        raise Error("SelectEvery: invalid offset specified")
    assert not modify_duration and cycle == clip.num_frames
    return VideoNode(clip.format, clip.width, clip.height, len(offsets), lambda n: clip.get_frame(int(offsets[n])))


def _set_cache(clip, mode, fixedsize, maxsize):
    assert mode == fixedsize == 1
    clip._size = maxsize


def _with_props(clip, change):
    def make(n):
        frame = clip.get_frame(n)
        return VideoFrame(frame._planes, change(n, dict(frame.props)))

    return VideoNode(clip.format, clip.width, clip.height, clip.num_frames, make)


_FUNCTIONS = {
    "BlankClip": _blank,
    "ModifyFrame": _modify,
    "Loop": _loop,
    "SelectEvery": _select,
    "SetVideoCache": _set_cache,
    "CopyFrameProps": lambda clip, source: _with_props(clip, lambda n, _: dict(source.get_frame(n).props)),
    "RemoveFrameProps": lambda clip, names: _with_props(
        clip, lambda _, props: {name: value for name, value in props.items() if name not in names}
    ),
}
core = SimpleNamespace(std=SimpleNamespace(**_FUNCTIONS))
