"""What is scored is made once, the same every time, and held against its checksums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import InputError, InputNotFoundError, OptionError, UnreadableInputError
from starvsr.evaluation.benchmarks.degradations import degraded
from starvsr.evaluation.benchmarks.inputs import InputOptions, ReadyClip, make_inputs
from starvsr.evaluation.benchmarks.layout import find_data
from starvsr.evaluation.benchmarks.sets import get_set
from tests.evaluation.benchmarks.made_sets import pairs
from tests.evaluation.made_clips import film, moving
from tests.video.programs import ffmpeg


def made(
    data: Path, out: Path, lq: str | None = None, frozen: Path | None = None, clips: list[str] | None = None, **options
) -> list[ReadyClip]:
    out.mkdir(exist_ok=True)
    found = find_data(get_set("custom"), data, lq=lq, clips=clips)
    return make_inputs("custom", found, out, InputOptions(**options), frozen=frozen)


def pixels(path: Path) -> np.ndarray:
    """Decode a lossless clip by FFmpeg's program."""
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8)


def test_clips_that_need_nothing_stay_where_they_are(tmp_path: Path) -> None:
    data = pairs(tmp_path / "set")
    one, two = made(data, tmp_path / "out")
    assert (one.gt and one.gt.path, one.lq.path, one.scale) == (data / "GT/one", data / "LQ/one", 4)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["frozen.json"]
    assert one.pixels != two.pixels and set(one.pixels) == {"gt", "lq"}
    frozen = json.loads((tmp_path / "out/frozen.json").read_text())
    assert frozen["clips"]["one"]["gt"]["size"] == [96, 64]
    assert frozen["settings"] == {
        "benchmark": "custom", "lq": "LQ", "seed": None, "frames": None, "max_size": None, "scale": None,
    }  # fmt: skip


def test_low_quality_clips_come_from_the_seed_and_the_name(tmp_path: Path) -> None:
    gt = np.concatenate([moving(3, 66, 98)[:, :, :, :], moving(3, 66, 98, seed=8)])
    film(tmp_path / "set/GT/a.mkv", gt)
    film(tmp_path / "set/GT/b.mkv", gt)
    first = made(tmp_path / "set", tmp_path / "1", "light", seed=3, frames=4)
    again = made(tmp_path / "set", tmp_path / "2", "light", seed=3, frames=4)
    other = made(tmp_path / "set", tmp_path / "3", "light", seed=4, frames=4)
    assert [c.pixels for c in first] == [c.pixels for c in again]
    assert first[0].pixels["lq"] not in (first[1].pixels["lq"], other[0].pixels["lq"])
    assert first[0].pixels["gt"] == other[0].pixels["gt"]
    cut = gt[:4, :64, :96]
    assert (pixels(tmp_path / "1/gt/a.mkv") == cut.ravel()).all()
    assert (pixels(tmp_path / "1/lq/a.mkv") == degraded(cut, "light", "a", 3, 4).ravel()).all()
    assert first[0].digests["lq"].size == (24, 16) and first[0].digests["lq"].frames == 4


def test_bicubic_input_is_that_of_pillow_within_a_level() -> None:
    gt = moving(1, 64, 96)
    made_here = degraded(gt, "bicubic", "a", 0, 4)[0]
    expected = np.asarray(Image.fromarray(gt[0]).resize((24, 16), Image.Resampling.BICUBIC), int)
    assert np.abs(made_here - expected).max() <= 1


def test_ground_truth_and_input_are_cut_together(tmp_path: Path) -> None:
    """A mark on one input pixel, and on the 4 x 4 pixels of the ground truth that it stands for, stay together."""
    gt, lq = np.zeros((2, 72, 104, 3), np.uint8), np.zeros((2, 18, 26, 3), np.uint8)
    gt[:, 32:36, 48:52], lq[:, 8, 12] = 255, 255
    film(tmp_path / "set/GT/a.mkv", gt)
    film(tmp_path / "set/LQ/a.mkv", lq)
    (clip,) = made(tmp_path / "set", tmp_path / "out", max_size=(50, 40), frames=1)
    assert [clip.digests[side].size for side in ("gt", "lq")] == [(48, 40), (12, 10)]
    large = pixels(tmp_path / "out/gt/a.mkv").reshape(40, 48, 3)
    small = pixels(tmp_path / "out/lq/a.mkv").reshape(10, 12, 3)
    assert small.any() and (large == small.repeat(4, 0).repeat(4, 1)).all()


def test_other_data_than_what_was_frozen_are_refused(tmp_path: Path) -> None:
    data, out = pairs(tmp_path / "set"), tmp_path / "out"
    made(data, out)
    made(data, out)
    frame = data / "LQ/two/0001.png"
    changed = np.asarray(Image.open(frame)).copy()
    changed[3, 5, 0] ^= 1
    Image.fromarray(changed).save(frame)
    with pytest.raises(
        InputError, match=r"two: the low-quality clip is not the one that .*out/frozen.json froze \(pixels"
    ):
        made(data, out)
    frame.unlink()
    with pytest.raises(InputError, match=r"froze \(2 frames of 24x16 in place of 3 frames of 24x16\)"):
        made(data, out)
    with pytest.raises(InputError, match=r"was frozen with other settings \(frames 2 for None\)"):
        made(data, out, frames=2)


def test_a_lossless_copy_is_the_same_data_and_can_be_held_against_another_run(tmp_path: Path) -> None:
    data, out = pairs(tmp_path / "set"), tmp_path / "out"
    made(data, out)
    copy = tmp_path / "copy"
    for name, seed in (("one", 0), ("two", 1)):
        film(copy / "GT" / f"{name}.mkv", moving(3, seed=seed))
        shutil.copytree(data / "LQ" / name, copy / "LQ" / name)
    assert [c.pixels for c in made(copy, tmp_path / "second", frozen=out / "frozen.json")] == [
        c.pixels for c in made(data, out)
    ]
    shutil.copytree(data / "GT/one", copy / "GT/three")
    shutil.copytree(data / "LQ/one", copy / "LQ/three")
    with pytest.raises(
        InputError, match=r"three: is not among the clips that .*frozen.json froze: leave it out by --clips"
    ):
        made(copy, tmp_path / "third", frozen=out / "frozen.json")
    assert len(made(copy, tmp_path / "third", frozen=out / "frozen.json", clips=["two"])) == 1
    with pytest.raises(InputNotFoundError, match=r"gone.json: there is no such file"):
        made(data, tmp_path / "fourth", frozen=tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text('{"format": "other"}')
    with pytest.raises(UnreadableInputError, match="holds no checksums of a benchmark"):
        made(data, tmp_path / "fourth", frozen=tmp_path / "bad.json")


def test_made_clips_that_are_damaged_or_gone_are_made_again(tmp_path: Path) -> None:
    film(tmp_path / "set/GT/a.mkv", moving(3))
    (before,) = made(tmp_path / "set", tmp_path / "out", "light")
    (tmp_path / "out/lq/a.mkv").write_bytes(b"damaged")
    (after,) = made(tmp_path / "set", tmp_path / "out", "light")
    assert after.pixels == before.pixels
    (tmp_path / "out/lq/a.mkv").unlink()
    (after,) = made(tmp_path / "set", tmp_path / "out", "light")
    assert after.pixels == before.pixels


@pytest.mark.parametrize(
    ("gt", "lq", "options", "what"),
    [
        ((3, 64, 96), (3, 16, 20), {}, "the ground truth is 96x64, the low-quality clip 20x16: models enlarge"),
        ((3, 64, 96), (3, 8, 12), {}, "models enlarge 1, 2, 3 or 4 times"),
        ((3, 64, 96), (2, 16, 24), {}, "the ground truth has 3 frames, the low-quality clip 2"),
        ((3, 64, 96), (3, 16, 24), {"scale": 2}, "--scale 2: the clips on disk differ 4 times"),
        ((3, 64, 96), (3, 16, 24), {"max_size": (2, 2)}, "nothing is left of"),
    ],
)
def test_pairs_that_do_not_belong_together_are_refused(
    tmp_path: Path, gt: tuple[int, ...], lq: tuple[int, ...], options: dict, what: str
) -> None:
    film(tmp_path / "set/GT/a.mkv", moving(*gt))
    film(tmp_path / "set/LQ/a.mkv", moving(*lq))
    with pytest.raises((InputError, OptionError), match=what):
        made(tmp_path / "set", tmp_path / "out", **options)
