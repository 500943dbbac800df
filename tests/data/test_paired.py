from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from starvsr.data.paired import PairedClips, find_pairs, make_eval_pairs
from starvsr.errors import DataError, OptionError
from starvsr.video.codec_pass import clip_frame_rate, read_clip, write_lossless


@pytest.fixture(scope="module")
def pairs(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    make_eval_pairs(media / "video", folder, max_frames=5, max_gt_size=(90, 200), manifest=media / "manifest.csv")
    return folder


def test_pairs_are_made_for_every_clip_and_preset(pairs: Path) -> None:
    names = [pair.gt.stem for pair in find_pairs(pairs)]
    assert names == ["long__heavy", "long__light", "short__heavy", "short__light"]
    records = {record["name"]: record for record in json.loads((pairs / "pairs.json").read_text())}
    assert records["long__light"]["gt_size"] == [88, 72]  # 128 x 96 at 0.75, at most 90 wide, multiples of 4
    assert records["long__light"]["num_frames"] == 5 and records["short__heavy"]["num_frames"] == 3
    assert clip_frame_rate(pairs / "lq" / "long__light.mkv") == 24


def test_pairs_are_read_as_tensors(pairs: Path) -> None:
    item = PairedClips(pairs)[1]
    assert item["name"] == "long__light"
    lq, gt = item["lq"], item["gt"]
    assert isinstance(lq, torch.Tensor) and isinstance(gt, torch.Tensor)
    assert lq.shape == (3, 5, 18, 22) and gt.shape == (3, 5, 72, 88)
    assert gt.min() >= -1 and gt.max() <= 1
    assert len(PairedClips(pairs)) == 4
    assert PairedClips(pairs, num_frames=2)[0]["lq"].shape == (3, 2, 18, 22)  # type: ignore[union-attr]


def test_a_clip_does_not_depend_on_its_neighbours(media: Path, pairs: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "short.mkv").write_bytes((media / "video" / "short.mkv").read_bytes())
    make_eval_pairs(alone, tmp_path / "out", ("heavy",), max_frames=5, max_gt_size=(90, 200))

    def digest(folder: Path) -> str:
        return hashlib.sha256(read_clip(folder / "lq" / "short__heavy.mkv").tobytes()).hexdigest()

    assert digest(tmp_path / "out") == digest(pairs)


def test_broken_folders_are_named(media: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        PairedClips(tmp_path)
    for part in ("gt", "lq"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match="no clips"):
        PairedClips(tmp_path)
    frames = read_clip(media / "video" / "short.mkv")
    write_lossless(tmp_path / "gt" / "a.mkv", frames)
    with pytest.raises(DataError, match="no partner for a"):
        PairedClips(tmp_path)
    write_lossless(tmp_path / "lq" / "a.mkv", frames[:2, ::4, ::4])
    with pytest.raises(DataError, match="gt has 3 frames of 100x80, lq 2 of 25x20"):
        PairedClips(tmp_path)[0]
    with pytest.raises(DataError, match="no videos"):
        make_eval_pairs(media / "image", tmp_path / "out")
    with pytest.raises(OptionError, match="unknown degradation"):
        make_eval_pairs(media / "video", tmp_path / "out", ("awful",))


def test_folders_of_images_are_pairs_as_reds_names_them(tmp_path: Path) -> None:
    for folder, side in (("train_sharp", 32), ("train_sharp_bicubic/X4", 8)):
        for clip in ("000", "011"):
            (tmp_path / folder / clip).mkdir(parents=True)
            for index in range(3):
                pixels = np.full((side, side, 3), 10 * index + int(clip), np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / clip / f"{index:08d}.png")
    item = PairedClips(tmp_path)[1]
    assert item["name"] == "011" and item["caption"] == ""
    assert torch.equal(item["gt"][:, :, ::4, ::4], item["lq"])
    assert (item["lq"][0, :, 0, 0] * 127.5 + 127.5).round().tolist() == [11, 21, 31]
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "train_sharp/000/00000001.png")
    with pytest.raises(DataError, match="differ in size"):
        PairedClips(tmp_path)[0]


def test_captions_lie_in_text(media: Path, tmp_path: Path) -> None:
    make_eval_pairs(media / "video", tmp_path, ("light",), max_frames=2, max_gt_size=(64, 64))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "long__light.txt").write_text("waves of\n colour\n")
    assert [PairedClips(tmp_path)[index]["caption"] for index in (0, 1)] == ["waves of colour", ""]
