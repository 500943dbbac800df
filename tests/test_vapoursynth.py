"""The VapourSynth filter: any order of requests gives the same pixels, those of the command; scenes are kept apart.

Everything runs on a stand-in for VapourSynth's core, and on the core itself where that is installed.
"""

from __future__ import annotations

import gc
import importlib.util
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

import starvsr
from starvsr.engine.traits import Traits
from starvsr.errors import InputError, OptionError
from starvsr.vapoursynth import upscale
from tests.support.doubles import DriftingUpscaler, NearestUpscaler, TemporalMeanUpscaler

_CORE = pytest.mark.skipif(importlib.util.find_spec("vapoursynth") is None, reason="VapourSynth is not installed")
CONTEXT = Traits(accepts=frozenset(), overlap=3, overlap_after=2, crossfade=4)


@pytest.fixture(params=["double", pytest.param("core", marks=_CORE)])
def vs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    if request.param == "double":
        from tests.support import vapoursynth_double

        monkeypatch.setitem(sys.modules, "vapoursynth", vapoursynth_double)
        return vapoursynth_double
    import vapoursynth

    return vapoursynth


def _clip(vs, pixels: np.ndarray, props=lambda n: {}, form: str = "RGBS"):  # type: ignore[no-untyped-def]
    """A clip of float pixels [T, h, w, 3]; a list counts the frames that were asked for."""
    count, height, width = pixels.shape[:3]
    blank = vs.core.std.BlankClip(width=width, height=height, format=getattr(vs, form), length=count)
    asked: list[int] = []

    def fill(n, f):  # type: ignore[no-untyped-def]
        asked.append(n)
        out = f.copy()
        for plane in range(3):
            np.asarray(out[plane])[:] = pixels[n, :, :, plane]
        for name, value in props(n).items():
            out.props[name] = value
        return out

    return vs.core.std.ModifyFrame(blank, blank, fill), asked


def _noise(count: int, height: int = 6, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 65536, (count, height, width, 3)).astype(np.float32) / np.float32(65535)


def _pixels(node, n: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    frame = node.get_frame(n)
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)


@pytest.mark.parametrize("cache", [1, 2])
def test_every_order_of_requests_gives_the_same_pixels(vs, cache: int) -> None:  # type: ignore[no-untyped-def]
    clip, _ = _clip(vs, _noise(23))

    def opened():  # type: ignore[no-untyped-def]
        return upscale(clip, upscaler=DriftingUpscaler(traits=CONTEXT), segment=8, cache=cache)

    node = opened()
    forward = [_pixels(node, n) for n in range(23)]
    assert all(pixels.shape == (24, 32, 3) and pixels.dtype == np.float32 for pixels in forward)
    assert len({pixels.tobytes() for pixels in forward}) == 23
    backward, random = opened(), opened()
    for n in [*range(22, -1, -1)]:
        assert np.array_equal(_pixels(backward, n), forward[n])
    for n in map(int, np.random.default_rng(1).permutation(23)):
        assert np.array_equal(_pixels(random, n), forward[n])
    with ThreadPoolExecutor(4) as pool:
        together = opened()
        for n, pixels in enumerate(pool.map(lambda n: _pixels(together, n), range(23))):
            assert np.array_equal(pixels, forward[n])


@pytest.mark.parametrize("cuts", [[], [6]])
def test_the_pixels_are_those_of_the_command(vs, cuts: list[int], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    picture = (_noise(1, 12, 16)[0] * 65535).round().astype(np.uint16)
    codes = np.stack([np.roll(picture, n, 1) for n in range(13)])  # a camera that pans
    for cut in cuts:
        codes[cut:] = codes[cut:, ::-1] // 5  # another scene
    for n, frame in enumerate(codes):
        assert cv2.imwrite(str(tmp_path / f"in_{n:03}.png"), frame[..., ::-1])
    model = starvsr.load_upscaler("star-small", device="cpu")
    values = {"upscaler": model, "scale": 3, "segment": 5}
    starvsr.upscale(tmp_path / "in_%03d.png", tmp_path / "out_%03d.png", scene_cuts=bool(cuts), **values)
    clip, _ = _clip(vs, codes.astype(np.float32) / np.float32(65535))
    node = upscale(clip, cuts=cuts, **values)
    for n in (0, 4, 5, 6, 10, 12):
        wanted = cv2.imread(str(tmp_path / f"out_{n:03}.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert np.array_equal(np.rint(_pixels(node, n) * 65535).astype(np.uint16), wanted), n


def test_frames_of_two_scenes_are_never_seen_together(vs) -> None:  # type: ignore[no-untyped-def]
    levels = np.repeat([0.0, 1.0, 0.5], [5, 6, 9]).astype(np.float32)
    pixels = np.broadcast_to(levels[:, None, None, None], (20, 6, 8, 3))
    for marks in ({5: "_SceneChangePrev", 11: "_SceneChangePrev"}, {4: "_SceneChangeNext", 10: "_SceneChangeNext"}):
        clip, _ = _clip(vs, pixels, lambda n, marks=marks: {marks[n]: 1} if n in marks else {})
        for segment in (1, 4, 8, 20):
            node = upscale(clip, upscaler=TemporalMeanUpscaler(traits=CONTEXT), segment=segment)
            for n in range(20):
                assert np.abs(_pixels(node, n) - levels[n]).max() < 1e-4, (segment, n)
            assert node.get_frame(next(iter(marks))).props[marks[next(iter(marks))]] == 1
        mixed = upscale(clip, upscaler=TemporalMeanUpscaler(traits=CONTEXT), segment=8, scene_cuts=False)
        assert np.abs(_pixels(mixed, 5) - levels[5]).max() > 0.1


def test_a_frame_costs_one_segment_and_playing_renders_each_once(vs) -> None:  # type: ignore[no-untyped-def]
    clip, asked = _clip(vs, _noise(64))
    model = NearestUpscaler(traits=Traits(accepts=frozenset(), overlap=3, overlap_after=2))
    node = upscale(clip, upscaler=model, segment=8)
    _pixels(node, 42)
    assert [call[0][2] for call in model.calls] == [13] and set(asked) == {*range(37, 50), 42}
    model.calls.clear()
    for n in range(64):
        assert np.abs(_pixels(node, n) - _noise(64)[n].repeat(4, 0).repeat(4, 1)).max() < 1e-4
    assert len(model.calls) == 8


def test_half_precision_one_frame_and_frame_properties(vs) -> None:  # type: ignore[no-untyped-def]
    props = {"_DurationNum": 1001, "_DurationDen": 30000, "_Matrix": 0, "_SARNum": 8, "_SARDen": 9, "own": 1.5}
    clip, _ = _clip(vs, _noise(1), lambda n: props, "RGBH")
    node = upscale(clip, upscaler=NearestUpscaler(), scale=2)
    assert (node.format.name, node.width, node.height, node.num_frames) == ("RGBH", 16, 12, 1)
    assert _pixels(node, 0).dtype == np.float16
    assert dict(node.get_frame(0).props) == props
    wild = np.array([-0.5, 1.5, np.nan], np.float32) + np.zeros((1, 6, 8, 3), np.float32)
    cut = _pixels(upscale(_clip(vs, wild)[0], upscaler=NearestUpscaler()), 0)
    assert np.array_equal(np.unique(cut[..., 0]), [0]) and cut[..., 1].min() == 1 and cut[..., 2].max() == 0


def test_what_cannot_be_done_is_refused(vs) -> None:  # type: ignore[no-untyped-def]
    clip, _ = _clip(vs, _noise(3))
    planar = vs.core.std.BlankClip(width=8, height=6, format=vs.YUV420P8, length=3)
    with pytest.raises(InputError, match=r'YUV420P8 .* clip.resize.Bicubic\(format=vs.RGBS, matrix_in_s="709"\)'):
        upscale(planar)
    with pytest.raises(InputError, match=r"RGB24 .* clip.resize.Bicubic\(format=vs.RGBS\)$"):
        upscale(vs.core.std.BlankClip(width=8, height=6, format=vs.RGB24, length=3))
    with pytest.raises(InputError, match="not ndarray"):
        upscale(_noise(1))
    for values, message in (
        ({"cache": 0}, "cache is 0"),
        ({"cuts": [3]}, "cuts holds 3"),
        ({"cuts": [1.0]}, "cuts holds 1.0"),
        ({"crf": 3}, "--crf has no use"),
        ({"modle": "bicubic"}, "did you mean model"),
        ({"model": "nothing"}, "unknown model"),
    ):
        with pytest.raises(OptionError, match=message):
            upscale(clip, **values)
    woven, _ = _clip(vs, _noise(3), lambda n: {"_FieldBased": 2 if n == 1 else 0})
    node = upscale(woven, model="bicubic", device="cpu", segment=1, overlap=0)
    _pixels(node, 0)
    with pytest.raises(vs.Error, match="frame 1 is interlaced: deinterlace"):
        node.get_frame(1)


def test_without_vapoursynth_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    with pytest.raises(OptionError, match="pip install vapoursynth"):
        upscale(None)


def test_the_model_is_let_go_with_the_filter(vs) -> None:  # type: ignore[no-untyped-def]
    class Opened(NearestUpscaler):
        num_open = 0

        @contextmanager
        def open(self, settings, plan=None):  # type: ignore[no-untyped-def]
            Opened.num_open += 1
            with super().open(settings, plan) as session:
                yield session
            Opened.num_open -= 1

    clip, _ = _clip(vs, _noise(9))
    node = upscale(clip, upscaler=Opened(), segment=4)
    _pixels(node, 5)
    assert Opened.num_open == 1
    del node
    gc.collect()
    assert Opened.num_open == 0


@_CORE
def test_y4m_of_the_core_goes_through_the_command() -> None:
    pytest.importorskip("starvsr.video.pipes")
    import vapoursynth as vs

    clip = vs.core.std.BlankClip(width=64, height=48, format=vs.YUV420P8, length=5, color=[90, 100, 150])
    frames = io.BytesIO()
    clip.output(frames, y4m=True)
    command = [sys.executable, "-m", "starvsr", "upscale", "-", "-o", "-", "--model", "bicubic", "--scale", "2"]
    done = subprocess.run(command, input=frames.getvalue(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    header, *made = done.stdout.split(b"FRAME")
    assert header.startswith(b"YUV4MPEG2") and b" W128 H96 F24:1" in header and len(made) == 5
