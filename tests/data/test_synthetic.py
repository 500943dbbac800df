from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.data.folders import list_media
from starvsr.data.synthetic import FrameCache, SharpSource, read_sharp_scales
from starvsr.errors import DataError


def test_draws_repeat_and_differ(media: Path, tmp_path: Path) -> None:
    source = SharpSource(media / "video", media / "image", tmp_path)
    for seed in range(6):
        clip = source.draw(np.random.default_rng(seed), 5, 64)
        assert clip.shape == (5, 64, 64, 3) and clip.dtype == np.uint8
        np.testing.assert_array_equal(clip, source.draw(np.random.default_rng(seed), 5, 64))
    assert not np.array_equal(clip, source.draw(np.random.default_rng(99), 5, 64))


def test_videos_alone_and_photos_alone(media: Path, tmp_path: Path) -> None:
    videos = SharpSource(media / "video", None, tmp_path, video_probability=0.0)
    photos = SharpSource(None, media / "image", tmp_path, video_probability=1.0)
    for source in (videos, photos):
        assert source.draw(np.random.default_rng(0), 4, 48).shape == (4, 48, 48, 3)


def test_the_cache_is_used_and_follows_the_source(media: Path, tmp_path: Path) -> None:
    source = SharpSource(media / "video", media / "image", tmp_path / "cache")
    source.prepare()
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the videos, whose lengths every draw needs
    for seed in range(20):
        source.draw(np.random.default_rng(seed), 2, 48)
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 4
    times = [path.stat().st_mtime_ns for path in files]
    SharpSource(media / "video", media / "image", tmp_path / "cache").prepare()
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").iterdir())] == times
    cache = FrameCache(tmp_path / "cache")
    assert cache.frames(media / "video" / "long.mkv").shape == (12, 96, 128, 3)
    assert cache.frames(media / "image" / "a.png").shape == (1, 120, 140, 3)
    short = FrameCache(tmp_path / "cache", max_frames=4)
    assert short.frames(media / "video" / "long.mkv").shape == (4, 96, 128, 3)


def test_data_copied_anew_are_not_decoded_anew_and_changed_ones_are(media: Path, tmp_path: Path) -> None:
    cache, images = FrameCache(tmp_path / "cache"), media / "image" / "a.png"
    cache.frames(media / "video" / "long.mkv")
    cache.frames(images)
    copies = tmp_path / "copies"
    shutil.copytree(media, copies)
    for path in (copies / "video" / "long.mkv", copies / "image" / "a.png"):
        os.utime(path, (1, 1))
        FrameCache(tmp_path / "cache").frames(path)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    Image.open(images).rotate(180).save(copies / "image" / "a.png")
    turned = FrameCache(tmp_path / "cache").frames(copies / "image" / "a.png")
    np.testing.assert_array_equal(turned, cache.frames(images)[:, ::-1, ::-1])


def test_a_source_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mkv: cannot be read \(No such file"):
        FrameCache(tmp_path).frames(tmp_path / "gone.mkv")


def test_a_folder_of_images_with_another_picture_is_another_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(clip / f"{number}.png")
    assert FrameCache(tmp_path / "cache").frames(clip)[2, 0, 0, 0] == 2
    status = clip.stat()
    Image.new("RGB", (40, 40), (9, 0, 0)).save(clip / "2.png")
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert FrameCache(tmp_path / "cache").frames(clip)[2, 0, 0, 0] == 9


def test_the_manifest_says_where_clips_are_sharp(media: Path, tmp_path: Path) -> None:
    assert read_sharp_scales(media / "manifest.csv") == {"long.mkv": 0.75}
    source = SharpSource(media / "video", None, tmp_path, manifest=media / "manifest.csv")
    source.prepare()
    sizes = {np.load(path, mmap_mode="r").shape[1:3] for path in tmp_path.iterdir()}
    assert sizes == {(72, 96), (80, 100)}


def test_missing_folders_and_manifests(media: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        SharpSource(tmp_path / "none", None, tmp_path)
    with pytest.raises(DataError, match="give folders with media"):
        SharpSource(None, None, tmp_path)
    with pytest.raises(DataError, match="is no manifest"):
        read_sharp_scales(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no manifest"):
        read_sharp_scales(tmp_path / "other.csv")
    assert list_media(None, frozenset({".mp4"})) == []
