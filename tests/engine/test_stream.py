"""The stream: same frames out as in, whatever the cut; nothing leaks, nothing is lost, errors come through."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.progress import CancelToken, Progress, ProgressTracker
from starvsr.engine.render import Finish
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import Segment
from starvsr.engine.stream import StreamSettings
from starvsr.engine.tiles import grid_of_tiles
from starvsr.engine.traits import Traits
from starvsr.errors import Cancelled, CorruptFrameError, OutputNotWritableError, StarVsrError
from tests.support.doubles import (
    ArrayFrame,
    DriftingUpscaler,
    NearestUpscaler,
    NoisyUpscaler,
    TemporalMeanUpscaler,
    random_frames,
    stream_through,
)


def chunks(height, width, *, length=4, overlap=1, crossfade=0, tile=None, tile_overlap=4):
    grid = grid_of_tiles(height, width, tile, tile_overlap)
    return ChunkPlan(length, overlap, crossfade, grid, memory=0, budget=0)


def _settings(height, width, *, length=4, overlap=1, crossfade=0, tile=None, tile_overlap=4, scale=4, **finish):
    cut = chunks(
        height, width, length=length, overlap=overlap, crossfade=crossfade, tile=tile, tile_overlap=tile_overlap
    )
    return StreamSettings(RenderSettings(cut), Finish(round(width * scale), round(height * scale), **finish))


def _run(frames, upscaler, settings, **details) -> list[np.ndarray]:
    out: list[tuple[np.ndarray, int, int]] = []
    count = stream_through(upscaler, frames, lambda *item: out.append(item), settings, **details)
    assert count == len(out)
    assert [(pts, duration) for _, pts, duration in out] == [(f.pts, f.duration) for f in frames]
    return [pixels for pixels, _, _ in out]


def _enlarged(frame: ArrayFrame) -> np.ndarray:
    return frame.pixels.repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 8, 9, 13])
@pytest.mark.parametrize(("overlap", "crossfade"), [(0, 0), (1, 0), (1, 2)])
def test_frames_come_back_exactly_for_every_length(num_frames: int, overlap: int, crossfade: int) -> None:
    frames = random_frames(num_frames, 7, 5)
    out = _run(frames, NearestUpscaler(), _settings(7, 5, overlap=overlap, crossfade=crossfade))
    for given, made in zip(frames, out, strict=True):
        np.testing.assert_array_equal(made, _enlarged(given))


@pytest.mark.parametrize("details", [{}, {"color": "adain"}, {"scale": 2}, {"crossfade": 2}])
def test_frames_finished_behind_the_network_are_the_same(details: dict) -> None:
    frames = random_frames(9, 12, 16)
    settings = _settings(12, 16, **details)
    threads = [set(), set()]
    results = []
    for behind in (False, True):
        finish = _Watched(settings.finish, threads[behind])
        changed = dataclasses.replace(settings, finish=finish, finish_behind=behind)  # type: ignore[arg-type]
        results.append(_run(frames, NearestUpscaler(), changed))
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))
    assert threads == [{threading.current_thread().name}, {"starvsr-write"}]


class _Watched:
    """Finishes frames and notes in which thread."""

    def __init__(self, finish: Finish, threads: set[str]) -> None:
        self._finish, self._threads = finish, threads

    def __call__(self, *frame: np.ndarray) -> np.ndarray:
        self._threads.add(threading.current_thread().name)
        return self._finish(*frame)


def test_a_slow_encoder_does_not_hold_up_a_model_that_lets_a_segment_wait() -> None:
    second_segment = threading.Event()

    class Upscaler(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):  # type: ignore[no-untyped-def]
            if arguments["first_frame"] > 0:
                second_segment.set()
            return super().upscale_clip(lq, **arguments)

    waited = []

    def sink(*_: object) -> None:
        waited.append(second_segment.wait(20))

    model = Upscaler(traits=Traits(write_behind=4))
    stream_through(model, random_frames(8, 4, 4), sink, _settings(4, 4, overlap=0))
    assert waited == [True] * 8


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 0), (np.uint16, 3)])
def test_tiles_join_without_a_trace(dtype: type, tolerance: int) -> None:
    frames = random_frames(3, 37, 53, dtype=dtype)
    out = _run(frames, NearestUpscaler(), _settings(37, 53, tile=20, tile_overlap=6))
    for given, made in zip(frames, out, strict=True):
        assert made.dtype == dtype
        assert np.abs(made.astype(int) - _enlarged(given)).max() <= tolerance


def test_sixteen_bits_are_kept_exactly() -> None:
    frames = random_frames(2, 6, 8, dtype=np.uint16)
    for given, made in zip(frames, _run(frames, NearestUpscaler(), _settings(6, 8)), strict=True):
        np.testing.assert_array_equal(made, _enlarged(given))


def test_alpha_is_enlarged_by_itself_or_left_out() -> None:
    frames = random_frames(2, 12, 12, channels=4)
    for frame in frames:
        frame.pixels[..., 3] = 200
    with_alpha = _run(frames, NearestUpscaler(), _settings(12, 12, keep_alpha=True))
    assert with_alpha[0].shape == (48, 48, 4)
    assert set(np.unique(with_alpha[0][..., 3])) == {200}
    assert _run(frames, NearestUpscaler(), _settings(12, 12))[0].shape == (48, 48, 3)


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3])
def test_smaller_scales_are_reduced_from_the_models_own(scale: float) -> None:
    flat = [ArrayFrame(np.full((10, 14, 3), 90, np.uint8), pts=0)]
    (made,) = _run(flat, NearestUpscaler(), _settings(10, 14, scale=scale))
    assert made.shape == (round(10 * scale), round(14 * scale), 3)
    assert set(np.unique(made)) == {90}


def test_reducing_filters_against_aliasing() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    (made,) = _run([ArrayFrame(stripes, pts=0)], NearestUpscaler(), _settings(16, 16, scale=1))
    np.testing.assert_allclose(made.astype(float), stripes, atol=60)  # each pixel comes from its own 4 x 4


@pytest.mark.parametrize("color", ["adain", "wavelet"])
def test_color_transfer_takes_a_tint_back(color: str) -> None:
    class Tinted(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            return super().upscale_clip(lq, **arguments) * 0.8 + 0.1

    frames = random_frames(2, 24, 24)
    plain = _run(frames, Tinted(), _settings(24, 24))
    fixed = _run(frames, Tinted(), _settings(24, 24, color=color))
    wanted = frames[0].pixels.mean((0, 1))
    assert np.abs(fixed[0].mean((0, 1)) - wanted).max() < 0.3 * np.abs(plain[0].mean((0, 1)) - wanted).max()


def test_nothing_leaks_across_a_scene_cut() -> None:
    frames = [ArrayFrame(np.full((8, 8, 3), 0 if i < 6 else 255, np.uint8), pts=i) for i in range(12)]
    settings = _settings(8, 8, length=4, overlap=2, crossfade=2)
    out = _run(frames, TemporalMeanUpscaler(), settings, cuts=[6])
    assert [int(p.mean()) for p in out] == [0] * 6 + [255] * 6
    mixed = _run(frames, TemporalMeanUpscaler(), settings)
    assert any(0 < p.mean() < 255 for p in mixed)  # without the cut it would leak


def _steps(out: list[np.ndarray]) -> np.ndarray:
    means = np.array([p.astype(float).mean() for p in out])
    return np.abs(np.diff(means))


def test_crossfade_softens_the_seam_of_a_drifting_model() -> None:
    frames = [ArrayFrame(np.full((8, 8, 3), 128, np.uint8), pts=i) for i in range(32)]
    hard = _steps(_run(frames, DriftingUpscaler(), _settings(8, 8, length=16, overlap=4)))
    soft = _steps(_run(frames, DriftingUpscaler(), _settings(8, 8, length=16, overlap=4, crossfade=8)))
    interior = np.median(hard)
    assert hard[15] > 5 * interior
    assert soft.max() < 0.5 * hard[15]


def test_noise_depends_on_seed_and_frame_not_on_the_cut() -> None:
    frames = random_frames(11, 6, 6)
    one = _run(frames, NoisyUpscaler(), _settings(6, 6, length=3, overlap=1))
    two = _run(frames, NoisyUpscaler(), _settings(6, 6, length=7, overlap=2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_single_calls_see_the_index_of_their_first_frame() -> None:
    model = NearestUpscaler()
    _run(random_frames(8, 5, 5), model, _settings(5, 5, length=4, overlap=1))
    assert [(shape[2], first) for shape, _, first, _ in model.calls] == [(5, 0), (5, 3)]


def test_values_that_are_no_numbers_are_refused_with_advice() -> None:
    class Broken(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            return super().upscale_clip(lq, **arguments) * float("nan")

    with pytest.raises(StarVsrError, match="--precision fp32"):
        _run(random_frames(2, 5, 5), Broken(), _settings(5, 5))


def test_a_clip_of_another_size_is_refused() -> None:
    class Cropping(NearestUpscaler):
        def upscale_clip(self, lq, **arguments):
            return super().upscale_clip(lq, **arguments)[..., :-1]

    with pytest.raises(StarVsrError, match=r"where .* is wanted"):
        _run(random_frames(2, 5, 5), Cropping(), _settings(5, 5))


def test_an_error_of_the_source_comes_through_and_ends_the_threads() -> None:
    def damaged():
        yield from random_frames(3, 5, 5)
        raise CorruptFrameError("frame 3 is damaged")

    before = threading.active_count()
    with pytest.raises(CorruptFrameError, match="frame 3"):
        stream_through(NearestUpscaler(), damaged(), lambda *item: None, _settings(5, 5), num_frames=9)
    assert threading.active_count() == before


def test_an_error_of_the_sink_comes_through_at_any_frame() -> None:
    for failing in (0, 5, 8):
        taken: list[int] = []

        def sink(pixels, pts, duration, failing=failing, taken=taken):
            if len(taken) == failing:
                raise OutputNotWritableError("the disk is full")
            taken.append(pts)

        with pytest.raises(OutputNotWritableError, match="disk is full"):
            stream_through(NearestUpscaler(), random_frames(9, 5, 5), sink, _settings(5, 5))
        assert len(taken) == failing


def test_cancelling_stops_soon() -> None:
    token = CancelToken()
    seen: list[int] = []

    def sink(pixels, pts, duration):
        seen.append(pts)
        token.cancel()

    before = threading.active_count()
    with pytest.raises(Cancelled):
        stream_through(NearestUpscaler(), random_frames(40, 5, 5), sink, _settings(5, 5), cancel=token)
    assert len(seen) < 10
    assert threading.active_count() == before


def test_reading_stays_a_few_frames_ahead() -> None:
    read, written, furthest = 0, 0, 0

    def frames():
        nonlocal read, furthest
        for frame in random_frames(80, 4, 4):
            read += 1
            furthest = max(furthest, read - written)
            yield frame

    def sink(pixels, pts, duration):
        nonlocal written
        written += 1

    stream_through(NearestUpscaler(), frames(), sink, _settings(4, 4, length=4, overlap=2), num_frames=80)
    assert written == 80
    assert furthest < 40


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("tile", "most_held"), [(None, 0), (4, 3)])
def test_frames_are_let_go_before_the_next_are_made(
    dtype: type, tile: int | None, most_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole frames one by one; those cut into tiles, which are made together, before the next segment begins."""
    import weakref

    from starvsr.engine import segment_task

    made: list[weakref.ref] = []
    held_in_segment: list[int] = []
    held_between: list[int] = []

    def watched(*arguments, **details):
        held_between.append(sum(frame() is not None for frame in made))
        before = len(made)
        for codes in upscale_segment(*arguments, **details):
            held_in_segment.append(sum(frame() is not None for frame in made[before:]))
            made.append(weakref.ref(codes if codes.base is None else codes.base))
            yield codes
            del codes

    upscale_segment = segment_task.upscale_segment
    monkeypatch.setattr(segment_task, "upscale_segment", watched)
    _run(random_frames(20, 6, 6, dtype=dtype), NearestUpscaler(), _settings(6, 6, tile=tile))
    assert held_between == [0] * 5 and len(made) == 20
    assert max(held_in_segment) == most_held


class _Stepping(NearestUpscaler):
    """Tells its steps, then hands out its frames."""

    def upscale_frames(self, lq, keep, **arguments):
        for step in range(3):
            arguments["on_step"](step + 1, 3)
        yield from super().upscale_frames(lq, keep, **arguments)


@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize("upscaler", [NearestUpscaler(), _Stepping()])
def test_shares_of_a_segment_only_rise(upscaler: NearestUpscaler, tile: int | None) -> None:
    render = _settings(6, 6, tile=tile).render
    frames = tuple(frame.pixels for frame in random_frames(4, 6, 6))
    shares: list[float] = []
    with upscaler.open(render.settings) as session:
        made = list(SegmentTask(render, Segment(0, 0, 4, 0, 4), frames).run(session, "cpu", shares.append))
    assert len(made) == 4
    assert shares == sorted(set(shares)) and shares[-1] == 1 and len(shares) > 1


def test_progress_counts_up_to_the_last_frame() -> None:
    reports: list[Progress] = []
    frames = random_frames(9, 5, 5)
    _run(frames, NearestUpscaler(), _settings(5, 5), tracker=ProgressTracker(reports.append, 9))
    done = [report.num_done + report.fraction for report in reports]
    assert done == sorted(done) and reports[-1].num_done == 9
    assert reports[-1].seconds_left == 0
    assert reports[-1].peak_memory > 2**20
