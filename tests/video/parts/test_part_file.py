"""Parts: what goes in comes out, damage is found, and decoding times are those of one long run."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.video import EncodeOptions, SceneDetector, VideoReader, VideoWriter
from starvsr.video.parts.part_file import DamagedPartError, Part, decoding_times, delay_of
from starvsr.video.parts.part_writer import PartWriter
from starvsr.video.write.output_format import OutputFormat
from tests.video.clips import make_clip, moving_bars


def _parts(folder: Path, name: str, frames: np.ndarray, lengths: list[int], **options):
    form = OutputFormat.like(
        folder / name, None, frames.shape[2], frames.shape[1], EncodeOptions(**options), alpha=frames.shape[3] == 4
    )
    facts, index = [], 0
    for number, length in enumerate(lengths):
        writer = PartWriter(folder / f"part{number}", form)
        for frame in frames[index : index + length]:
            writer.write(frame, 7 + 3 * index, 3)
            index += 1
        facts.append(writer.close())
    return form, facts


def _join(form: OutputFormat, facts, **details) -> Path:
    with VideoWriter(
        form.path, source=None, width=form.width, height=form.height, options=form.options, alpha=form.alpha, **details
    ) as writer:
        parts = [partial(Part, form.path.with_name(f"part{i}")) for i in range(len(facts))]
        writer.append_parts(parts, max(f.delay for f in facts), sum(f.num_frames for f in facts))
    return form.path


@pytest.mark.parametrize("lengths", [[1], [12], [1, 1, 10], [5, 7], [4, 4, 4]])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("o.mp4", {"preset": "veryfast"}),
        ("o.mkv", {"preset": "veryfast"}),
        ("o.mov", {"codec": "prores"}),
    ],
)
def test_joined_parts_keep_every_frame_and_time(name: str, options: dict, lengths: list[int], tmp_path: Path) -> None:
    frames = moving_bars(sum(lengths))
    form, facts = _parts(tmp_path, name, frames, lengths, **options)
    out = _join(form, facts)
    with VideoReader(out) as reader:
        made = list(reader)
    assert [round(f.pts * f.time_base * 25) for f in made] == [7 + 3 * i for i in range(len(frames))]
    assert round(made[-1].duration * made[-1].time_base * 25) == 3
    scale = 257 if made[0].pixels.dtype == np.uint16 else 1
    for frame, wanted in zip(made, frames, strict=True):
        assert np.abs(frame.pixels / scale - wanted).mean() < 5


def test_transparency_of_vp9_lies_beside_its_packets(tmp_path: Path) -> None:
    frames = moving_bars(4, channels=4)
    form, facts = _parts(tmp_path, "o.webm", frames, [2, 2], codec="vp9", preset="8")
    out = _join(form, facts)
    with VideoReader(out) as reader:
        alpha = np.stack([frame.pixels[..., 3] for frame in reader])
    assert np.abs(alpha.astype(int) - frames[..., 3]).mean() < 4


def test_a_part_that_was_changed_or_cut_off_is_refused(tmp_path: Path) -> None:
    form, facts = _parts(tmp_path, "o.mp4", moving_bars(6), [6], preset="ultrafast")
    path = tmp_path / "part0"
    content = path.read_bytes()
    assert facts[0].size == len(content)
    for place in range(3, len(content), 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        if place < 15 or place > len(content) - 20:
            with pytest.raises(DamagedPartError):
                list(Part(path).packets())
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedPartError, match="damaged"):
            Part(path)
    path.unlink()
    with pytest.raises(DamagedPartError):
        _join(form, facts)
    assert [p.name for p in tmp_path.iterdir()] == []


def test_parts_of_other_settings_do_not_join(tmp_path: Path) -> None:
    _, facts = _parts(tmp_path, "o.mp4", moving_bars(3), [3], preset="ultrafast")
    other = OutputFormat.like(tmp_path / "o.mp4", None, 64, 48, EncodeOptions(pixel_format="yuv444p"))
    with pytest.raises(DamagedPartError, match="other settings"):
        _join(other, facts)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(st.integers(1, 500), min_size=1, max_size=30),
    delay=st.integers(0, 4),
)
def test_decoding_times_increase_and_never_lie_behind_showing(steps: list[int], delay: int) -> None:
    times = np.cumsum(steps).tolist()
    delay = min(delay, len(times) - 1)
    clock = list(decoding_times(iter(times), delay))[: len(times)]
    assert all(a < b for a, b in pairwise(clock))
    assert clock[delay:] == times[: len(times) - delay]


@settings(max_examples=80, deadline=None)
@given(st.permutations(range(9)))
def test_delay_is_the_least_that_lets_every_picture_be_decoded_in_time(order: list[int]) -> None:
    times = [10 * place for place in order]
    delay = delay_of(times)

    def fits(delay: int) -> bool:
        return all(i - delay <= place for i, place in enumerate(order))

    assert fits(delay) and (delay == 0 or not fits(delay - 1))


def test_a_detector_warmed_up_with_known_answers_goes_on_as_if_it_had_seen_all() -> None:
    rng = np.random.default_rng(4)
    shots = rng.integers(0, 256, (9, 24, 32, 3), np.uint8)
    frames = [np.roll(shots[i // 11], i % 5, 1) for i in range(90)]
    detector = SceneDetector()
    cuts = [detector.is_cut(frame) for frame in frames]
    assert sum(cuts) > 4
    for first in range(20, 90, 9):
        fresh = SceneDetector()
        for index in range(first - fresh.warm_up, first):
            fresh.replay(frames[index], cuts[index])
        assert [fresh.is_cut(frame) for frame in frames[first:]] == cuts[first:]


def test_skipped_frames_leave_the_rest_as_it_was(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=12, interlaced=True, size=(64, 48))
    with VideoReader(source) as reader:
        whole = list(reader)
        for skip in (1, 5, 11, 12):
            part = list(reader.read(skip=skip))
            assert [f.index for f in part] == list(range(skip, 12))
            for one, other in zip(part, whole[skip:], strict=True):
                assert (one.pts, one.duration) == (other.pts, other.duration)
                np.testing.assert_array_equal(one.pixels, other.pixels)
