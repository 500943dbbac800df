"""A clip on disk as frames: as often as asked for, one at a time, the same as read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.data.clip_file import ClipFile
from starvsr.errors import DataError, InputNotFoundError, UnreadableInputError
from starvsr.video.codec_pass import iter_clip, read_clip, write_lossless


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), np.uint8)


def test_a_video_is_decoded_anew_each_time(clip: np.ndarray, tmp_path: Path) -> None:
    write_lossless(tmp_path / "a.mkv", clip)
    file = ClipFile(tmp_path / "a.mkv")
    for _ in range(2):
        assert np.array_equal(np.stack(list(file)), clip)
    assert np.array_equal(np.stack(list(ClipFile(tmp_path / "a.mkv", 2))), clip[:2])
    assert np.array_equal(np.stack(list(iter_clip(tmp_path / "a.mkv", 1, 2, 2))), clip[1::2][:2])
    assert np.array_equal(read_clip(tmp_path / "a.mkv", 1, 2, 2), clip[1::2][:2])
    first = iter(file)
    assert np.array_equal(next(first), clip[0])  # and the rest is never decoded
    first.close()  # type: ignore[attr-defined]


def test_a_folder_of_images_is_one_clip(clip: np.ndarray, tmp_path: Path) -> None:
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / f"{number + 8}.png")  # 8, 9, 10: natural order
    file = ClipFile(tmp_path)
    assert np.array_equal(np.stack(list(file)), clip) and len(list(ClipFile(tmp_path, 3))) == 3
    Image.fromarray(clip[0, :8]).save(tmp_path / "99.png")
    with pytest.raises(DataError, match="differ in size"):
        list(file)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        list(ClipFile(tmp_path / "none.mkv"))
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(UnreadableInputError):
        list(ClipFile(tmp_path / "text.mkv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        list(ClipFile(tmp_path / "empty"))
