"""Pairs of sharp and degraded clips on disk: made once with a fixed seed, read for training or evaluation.

A folder of pairs holds `gt/NAME` and `lq/NAME` (video files or folders of images of the same stem), perhaps
`text/NAME.txt` with captions and, when made here, `pairs.json`. The folders of REDS are understood as they come.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from starvsr.data.folders import list_clips, list_media
from starvsr.data.motion import resize_frames
from starvsr.data.synthetic import read_caption, read_images, read_sharp_scales
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.recipe import degrade_clip
from starvsr.errors import DataError
from starvsr.video.codec_pass import clip_frame_rate, hdr_transfer, read_clip, write_lossless
from starvsr.video.suffixes import VIDEO_SUFFIXES

LAYOUTS = (("gt", "lq"), ("train_sharp", "train_sharp_bicubic/X4"), ("GT", "sharp_bicubic"), ("GT", "BIx4"))
"""Folders of sharp and of small clips, as this package, REDS and REDS4 name them."""


@dataclass(frozen=True)
class PairPaths:
    """Paths of a pair: two videos or folders of images, and an optional caption."""

    gt: Path
    lq: Path
    text: Path

    def caption(self) -> str:
        """Read the caption, "" for none."""
        return read_caption(self.text)

    def check(self, gt: tuple[int, ...], lq: tuple[int, ...], scale: int | None = None) -> None:
        """Check that shapes [T, H, W, 3] belong together.

        Raises:
            DataError: another number of frames, or sizes that are not a whole multiple (``scale``, if given).
        """
        factor = scale or gt[1] // max(lq[1], 1)
        if gt[0] == lq[0] and gt[1:3] == (lq[1] * factor, lq[2] * factor) and factor:
            return
        wanted = f"{scale} times" if scale else "a whole multiple of"
        raise DataError(
            f"{self.gt.name}: gt has {gt[0]} frames of {gt[2]}x{gt[1]}, lq {lq[0]} of {lq[2]}x{lq[1]}; gt must have "
            f"as many frames and be {wanted} lq in size: make the pair again with `starvsr degrade`"
        )


@dataclass(frozen=True)
class PairRecord:
    """One line of `pairs.json`: how a pair was made."""

    name: str
    source: str
    preset: str
    seed: int
    frame_rate: str
    num_frames: int
    gt_size: tuple[int, int]
    lq_size: tuple[int, int]


class PairedClips(Dataset[dict[str, torch.Tensor | str]]):
    """Reads pairs: item = {"name", "caption", "lq" [3, T, h, w], "gt" [3, T, H, W]}, float32 in [-1, 1].

    Args:
        folder: folder with `gt` and `lq`.
        num_frames: how many frames to read of each clip; None for all.

    Raises:
        DataError: a folder is missing, empty, or a clip has no partner.
    """

    def __init__(self, folder: str | Path, num_frames: int | None = None) -> None:
        self.pairs = find_pairs(folder)
        self.num_frames = num_frames

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        """Read one pair.

        Raises:
            DataError: the two clips differ in length, or GT is not a whole multiple of LQ in size.
        """
        pair = self.pairs[index]
        gt, lq = (self._read(path) for path in (pair.gt, pair.lq))
        pair.check(gt.shape, lq.shape)
        return {"name": pair.gt.stem, "lq": _to_unit(lq), "gt": _to_unit(gt), "caption": pair.caption()}

    def _read(self, path: Path) -> np.ndarray:
        if path.is_dir():
            return read_images(path, self.num_frames)
        return read_clip(path, num_frames=self.num_frames)


def find_pairs(folder: str | Path) -> list[PairPaths]:
    """List the pairs of a folder, sorted by name.

    Raises:
        DataError: no folders of pairs, nothing in them, or a clip has no partner.
    """
    folder = Path(folder)
    sharp, small = next((names for names in LAYOUTS if all((folder / n).is_dir() for n in names)), LAYOUTS[0])
    gt, lq = ({path.stem: path for path in list_clips(folder / name)} for name in (sharp, small))
    lonely = sorted(gt.keys() ^ lq.keys())
    if lonely or not gt:
        what = f"no partner for {', '.join(lonely[:5])}" if lonely else "no clips"
        raise DataError(f"{what} in {folder}/{sharp} and {small}; make the pairs with `starvsr degrade`")
    return [PairPaths(gt[name], lq[name], folder / "text" / f"{name}.txt") for name in sorted(gt)]


def make_eval_pairs(
    hq_folder: str | Path,
    out_folder: str | Path,
    presets: Sequence[str] = ("light", "heavy"),
    *,
    seed: int = 0,
    max_frames: int = 16,
    max_gt_size: tuple[int, int] = (960, 540),
    scale: int = 4,
    manifest: str | Path | None = None,
) -> list[PairRecord]:
    """Make a fixed evaluation set out of a folder of sharp videos, losslessly stored.

    Every clip keeps its first frames, is rescaled to where it is sharp, cut around its centre to multiples of
    `scale`, and degraded with a generator of (seed, clip name, preset): adding clips does not change the
    others.

    Args:
        hq_folder: folder of sharp videos; HDR clips are left out.
        out_folder: gets `gt/CLIP__PRESET.mkv`, `lq/CLIP__PRESET.mkv` and `pairs.json`.
        presets: names of degradation presets.
        seed: seed of everything.
        max_frames: longest clip.
        max_gt_size: largest GT (width, height).
        scale: GT pixels per LQ pixel.
        manifest: CSV with sharp scales, see `SharpSource`.

    Returns:
        One record a pair, as written to `pairs.json`.

    Raises:
        DataError: no usable video in the folder.
        OptionError: unknown preset.
    """
    videos = [path for path in list_media(hq_folder, VIDEO_SUFFIXES) if hdr_transfer(path) is None]
    if not videos:
        raise DataError(f"no videos in {hq_folder}; give a folder of sharp clips")
    scales = read_sharp_scales(manifest) if manifest is not None else {}
    out = Path(out_folder)
    for part in ("gt", "lq"):
        (out / part).mkdir(parents=True, exist_ok=True)
    records = []
    for path in videos:
        gt = resize_frames(read_clip(path, num_frames=max_frames), scales.get(path.name, 1.0))
        gt = center_crop(gt, max_gt_size, scale)
        for preset in presets:
            records.append(_write_pair(path, gt, preset, seed, scale, out))
    text = json.dumps([asdict(record) for record in records], indent=1)
    (out / "pairs.json").write_text(text + "\n", encoding="utf-8")
    return records


def center_crop(frames: np.ndarray, max_size: tuple[int, int], multiple: int) -> np.ndarray:
    """Cut uint8 [T, H, W, 3] around its centre to at most (width, height), sides multiples of `multiple`."""
    height, width = frames.shape[1:3]
    new_width = min(width, max_size[0]) // multiple * multiple
    new_height = min(height, max_size[1]) // multiple * multiple
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return frames[:, top : top + new_height, left : left + new_width]


def _write_pair(path: Path, gt: np.ndarray, preset: str, seed: int, scale: int, out: Path) -> PairRecord:
    rng = np.random.default_rng((seed, zlib.crc32(path.stem.encode()), zlib.crc32(preset.encode())))
    lq = to_bytes(degrade_clip(torch.from_numpy(np.ascontiguousarray(gt)).permute(0, 3, 1, 2), preset, rng, scale))
    name, rate = f"{path.stem}__{preset}", clip_frame_rate(path)
    write_lossless(out / "gt" / f"{name}.mkv", gt, rate)
    write_lossless(out / "lq" / f"{name}.mkv", lq, rate)
    sizes = [(frames.shape[2], frames.shape[1]) for frames in (gt, lq)]
    return PairRecord(name, path.name, preset, seed, str(Fraction(rate)), len(gt), sizes[0], sizes[1])


def _to_unit(frames: np.ndarray) -> torch.Tensor:
    """Turn uint8 [T, H, W, 3] into float32 [3, T, H, W] in [-1, 1]."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2).contiguous().float().div_(127.5).sub_(1.0)
