from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.data.sample import PHOTOS, chord, make_sample_clip
from starvsr.errors import OptionError, OutputNotWritableError
from starvsr.video.codec_pass import read_clip


def test_the_clip_has_two_shots_and_sound(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    path = make_sample_clip(tmp_path / "sample.mp4", width=96, height=64, num_frames=8)
    frames = read_clip(path).astype(int)
    assert frames.shape == (8, 64, 96, 3)
    changes = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert changes.argmax() == 3 and changes[3] > 3 * np.delete(changes, 3).max()
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.streams.video[0].average_rate == 24


def test_the_same_seed_gives_the_same_frames(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    sizes = {"width": 64, "height": 48, "num_frames": 4}
    first, again, other = (
        read_clip(make_sample_clip(tmp_path / f"{index}.mp4", seed=seed, **sizes))
        for index, seed in enumerate((0, 0, 1))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", list(PHOTOS))
def test_every_photo_ships_with_scikit_image(name: str, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    make_sample_clip(tmp_path / "one.mp4", width=32, height=32, num_frames=1, photos=[name])
    assert read_clip(tmp_path / "one.mp4").std() > 5


def test_the_chord_is_soft_and_fades(tmp_path: Path) -> None:
    sound = chord(0.5)
    assert sound.shape == (2, 24000) and sound.dtype == np.float32
    assert 0.05 < np.abs(sound).max() <= 0.2
    assert np.abs(sound[:, :10]).max() < 0.02 and np.abs(sound[:, -10:]).max() < 0.02


def test_bad_requests_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="even sides"):
        make_sample_clip(tmp_path / "a.mp4", width=33)
    with pytest.raises(OptionError, match="unknown photo 'dog'"):
        make_sample_clip(tmp_path / "a.mp4", photos=["dog"])
    with pytest.raises(OutputNotWritableError, match="there is no folder"):
        make_sample_clip(tmp_path / "none" / "a.mp4")
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(OptionError, match=r"pip install 'starvsr\[demo\]'"):
        make_sample_clip(tmp_path / "a.mp4")
