"""Samples come back within one code where nothing has to be lost, and colours are tagged as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from tests.video.exactness.clips import Tags
from tests.video.exactness.facts import ffmpeg, moving_picture
from tests.video.exactness.pictures import (
    Scene,
    draw_planes,
    flat_scenes,
    rgb_of,
    scenes,
    split_planes,
    write_scene,
)
from tests.video.exactness.properties import holds, identity


@holds("samples of 8 to 16 bits, within one code", scenes(), few=16, many=300)
def test_samples_come_back_within_one_code(scene: Scene, folder: Path) -> None:
    """Red, green, blue and 4:4:4 whole; of subsampled formats the luma, and chroma that changes slowly."""
    source = write_scene(folder, scene)
    out = folder / scene.target.name
    identity(source, out, **scene.target.arguments)
    before, after = _frames(source, scene), _frames(out, scene)
    assert len(after) == len(before) == len(scene.clip.pts)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        drawn = draw_planes(scene, number)
        assert all(np.array_equal(plane, given) for plane, given in zip(drawn, old, strict=False)), "not as drawn"
        for index, (given, found) in enumerate(zip(old[: len(drawn)], new, strict=False)):
            error = int(np.abs(found - given).max())
            assert error <= _allowed(scene, index), f"plane {index}: {error} codes"
        assert len(new) >= len(drawn)
    _same_tags(source, out, scene)


@holds("colours and their tags, any codec", flat_scenes(), few=6, many=100)
def test_colours_stay_what_they_are(scene: Scene, folder: Path) -> None:
    """A flat colour, decoded by FFmpeg, stays within two codes of 255 by what the tags say, and the tags stay."""
    source = write_scene(folder, scene)
    out = folder / scene.target.name
    identity(source, out, **scene.target.arguments)
    before, after = _colour(source, scene), _colour(out, scene)
    assert np.abs(before - after).max() <= 2, (before, after)
    tags = scene.clip.tags
    is_prores = dict(scene.target.options).get("codec") == "prores"  # has no word for full range
    assert _tags(out) == (replace(tags, range=1) if is_prores else tags)


def _colour(path: Path, scene: Scene) -> np.ndarray:
    """Mean red, green, blue (0..255) of the first frame, from its samples by the arithmetic of H.273.

    FFmpeg's own conversion of 12 bits to 8-bit RGB is up to two codes away from that.
    """
    frame = _frames(path, scene)[0]
    with av.open(str(path)) as container:
        pix_fmt = next(container.decode(moving_picture(container))).format.name
    return rgb_of([float(plane.mean()) for plane in frame], _tags(path), av.VideoFormat(pix_fmt).components[0].bits)


def _same_tags(source: Path, out: Path, scene: Scene) -> None:
    """What the input says of its colours, the output says too; what it does not say is BT.709, limited.

    x264 names no matrix for gray, which has no chroma that one could be for.
    """
    before, after = _tags(source), _tags(out)
    if scene.is_rgb:
        assert (after.matrix, after.range) in ((0, 2), (0, 0), (2, 2), (2, 0))
        return
    is_gray = scene.clip.pix_fmt.startswith("gray")
    has_no_matrix = is_gray and dict(scene.target.options).get("codec") == "h264" and after.matrix == 2
    assert has_no_matrix or after.matrix == (before.matrix if before.matrix != 2 else 1)
    assert after.range == (before.range or 1)
    assert after.primaries == (before.primaries if before.primaries != 2 else 1)
    assert after.transfer == (before.transfer if before.transfer != 2 else 1)


def _allowed(scene: Scene, plane: int) -> int:
    """Chroma that is resampled to 4:4:4 and back may be two steps of 4096 away, which is one of 10 bits."""
    if scene.is_rgb and scene.bits in (8, 16):
        return 0
    return max(1, 1 << (scene.bits - 11)) if scene.is_subsampled and plane in (1, 2) and scene.bits > 11 else 1


def _frames(path: Path, scene: Scene) -> list[list[np.ndarray]]:
    raw = ffmpeg("-i", path, "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    with av.open(str(path)) as container:
        pix_fmt = next(container.decode(moving_picture(container))).format.name
    return split_planes(raw, scene.clip, pix_fmt.replace("yuvj", "yuv"))


def _tags(path: Path) -> Tags:
    with av.open(str(path)) as container:
        frame = next(container.decode(moving_picture(container)))
        return Tags(int(frame.colorspace), int(frame.color_range), int(frame.color_primaries), int(frame.color_trc))
