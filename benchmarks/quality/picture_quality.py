r"""What viewers see, as numbers: VGG distance, fine detail, weave and PSNR of upscalers, by kind of input.

    python -m benchmarks.quality.picture_quality --hq CLIPS [--manifest FILE] [--ncnn-model MODELS] [--weights FILE] \
        [--methods bicubic animevideov3 x4plus star-small causal-sr] [--damages light heavy crf28 clean]

Sharp clips are cut around their centre, made a quarter as large and damaged with fixed seeds: by the presets `light`
and `heavy`, by x264 at a CRF after an area filter, or not at all ("clean", a bicubic filter). Each method enlarges
them; NAME-sharpened is NAME with `--sharpen 1`, star-small@0.5 is star-small with `--detail 0.5`, A+B the mean of the
results of A and B. The VGG distance is told as a share of bicubic's on the same frames, PSNR as the gain over bicubic
in dB. Scores are kept in OUT/scores.json and the most detailed window of each result in OUT/crops, so that a method can
be added later and those before do not run again (but for one whose weights have changed since); OUT/crops_DAMAGE.png
shows these windows side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.quality.contact_sheets import Row, detailed_window, enlarge_nearest, save_sheet, window
from benchmarks.quality.methods import (
    SCALE,
    X4PLUS,
    AnimeVideo,
    ByteArray,
    Causal,
    MeanOf,
    Method,
    Sharpened,
    StarSmall,
    bicubic,
)
from starvsr.data.motion import resize_frames
from starvsr.data.paired import center_crop
from starvsr.data.synthetic import list_media, read_sharp_scales
from starvsr.degradation.compression import to_bytes
from starvsr.degradation.presets import PRESETS
from starvsr.degradation.recipe import degrade_clip
from starvsr.errors import DataError, OptionError, StarVsrError
from starvsr.families.registry import get_entry
from starvsr.metrics.fidelity import psnr
from starvsr.metrics.texture import detail_correlation, detail_share, weave
from starvsr.metrics.vgg_distance import vgg_distance
from starvsr.video.codec_pass import compress_clip, hdr_transfer, read_clip
from starvsr.video.suffixes import VIDEO_SUFFIXES
from starvsr.video.write.publish import file_sha256

BY_FRAME = ("bicubic", "animevideov3", "x4plus")
"""Methods that know one frame at a time."""
CROP_PX = 8
PLAIN = {"detail share": "detail", "detail correlation": "placed", "weave": "weave"}
"""Columns of the table that hold a measure as it is."""
SHEET_PX = (240, 180)
Measured = dict[str, float]
Scores = dict[str, dict[str, dict[str, Measured]]]
"""Damage, clip, method, measure."""


@dataclass(frozen=True)
class Setting:
    """What results depend on beside the method: scores of another setting are not mixed in."""

    seed: int
    num_frames: int
    measured: tuple[int, ...]
    size: tuple[int, int]

    def facts(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return {
            "seed": self.seed, "num_frames": self.num_frames, "measured": list(self.measured), "size": list(self.size),
        }  # fmt: skip


def damaged(gt: ByteArray, damage: str, clip: str, seed: int) -> ByteArray:
    """Make the low-quality clip [T, h, w, 3] of a sharp one: a preset's name, "clean" or "crfN".

    Raises:
        OptionError: an unknown damage.
    """
    frames = torch.from_numpy(np.ascontiguousarray(gt)).permute(0, 3, 1, 2)
    size = (gt.shape[1] // SCALE, gt.shape[2] // SCALE)
    if damage == "clean":
        return to_bytes(F.interpolate(frames / 255.0, size=size, mode="bicubic", antialias=True))
    if damage.startswith("crf") and damage[3:].isdigit():
        small = to_bytes(F.interpolate(frames / 255.0, size=size, mode="area"))
        return compress_clip(small, "libx264", crf=int(damage[3:]), preset="medium", gop=250)
    if damage not in PRESETS:
        raise OptionError(f"unknown damage {damage!r}: clean, crf0 to crf51, or one of {', '.join(PRESETS)}")
    rng = np.random.default_rng((seed, zlib.crc32(clip.encode()), zlib.crc32(damage.encode())))
    return to_bytes(degrade_clip(frames, damage, rng, SCALE))


def measure(gt: ByteArray, hq: ByteArray) -> Measured:
    """Measure a result on the frames given, means over them."""
    values = {
        "vgg": vgg_distance(gt, hq, crop_px=CROP_PX),
        "psnr_y": psnr(gt, hq, crop_px=CROP_PX),
        "detail": detail_share(gt, hq, crop_px=CROP_PX),
        "placed": detail_correlation(gt, hq, crop_px=CROP_PX),
        "weave": weave(hq, crop_px=CROP_PX),
    }
    return {name: float(np.mean(value)) for name, value in values.items()}


def summary(scores: Scores, methods: Sequence[str]) -> str:
    """Return a Markdown table: one row for each damage and method, means over the clips that all methods have."""
    heads = ("input", "method", "clips", "VGG distance / bicubic's", "PSNR-Y - bicubic's, dB", *PLAIN)
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for damage, clips in scores.items():
        shared = [clip for clip, found in clips.items() if {*methods, "bicubic"} <= found.keys()]
        for method in methods if shared else ():
            own, plain = (Means([clips[clip][name] for clip in shared]) for name in (method, "bicubic"))
            numbers = [f"{own('vgg') / plain('vgg'):.3f}", f"{own('psnr_y') - plain('psnr_y'):+.2f}"]
            numbers += [f"{own(name):.2f}" for name in PLAIN.values()]
            lines.append(f"| {damage} | {method} | {len(shared)} | {' | '.join(numbers)} |")
    return "\n".join(lines)


class Means:
    """Means of measures over clips, by name."""

    def __init__(self, rows: Sequence[Measured]) -> None:
        """Keep the measures of each clip."""
        self._rows = rows

    def __call__(self, name: str) -> float:
        """Return the mean of one measure."""
        return float(np.mean([row[name] for row in self._rows]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    setting = Setting(options.seed, options.frames, tuple(options.measured), tuple(options.size))
    if max(setting.measured) >= setting.num_frames:
        raise OptionError(f"--measured {max(setting.measured)} is beyond --frames {setting.num_frames}")
    methods = {name: _method(name, options) for name in options.methods}
    digests = {name: "+".join(map(file_sha256, paths)) for name in methods if (paths := _weights(name, options))}
    store = _stored(options.out / "scores.json", setting, digests)
    scores = store.scores
    scales = read_sharp_scales(options.manifest) if options.manifest else {}
    sheets: dict[str, list[Row]] = {}
    for path in _clips(options):
        gt = center_crop(
            resize_frames(read_clip(path, num_frames=setting.num_frames), scales.get(path.name, 1.0)),
            setting.size,
            SCALE,
        )
        for damage in options.damages:
            lq = damaged(gt, damage, path.stem, setting.seed)
            found = scores.setdefault(damage, {}).setdefault(path.stem, {})
            crops = options.out / "crops" / damage / path.stem
            row = _measure_clip(gt, lq, methods, found, setting, again=options.again, folder=crops)
            sheets.setdefault(damage, []).append(Row(f"{path.stem}, {damage}", row))
            store.write()
    for damage, rows in sheets.items():
        save_sheet(rows, options.out / f"crops_{damage}.png")
    print(summary({damage: scores[damage] for damage in options.damages}, options.methods))


def _measure_clip(
    gt: ByteArray,
    lq: ByteArray,
    methods: Mapping[str, Method],
    found: dict[str, Measured],
    setting: Setting,
    *,
    again: Sequence[str],
    folder: Path,
) -> dict[str, ByteArray]:
    """Run the methods that have no measure or no crop in a folder yet; return the crops of all.

    Input and ground truth are beside them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = [t for t in setting.measured if t < len(gt)]
    shown = frames[-1]
    left, top = detailed_window(gt[shown], *SHEET_PX)
    crops = {"input": window(enlarge_nearest(lq[shown], SCALE), left, top, *SHEET_PX)}
    for name, method in methods.items():
        kept = folder / f"{name}.png"
        if name in found and name not in again and kept.is_file():
            crops[name] = np.asarray(Image.open(kept))
            continue
        alone = all(part in BY_FRAME for part in name.split("+"))  # no need of the frames before
        hq = method(lq[frames]) if alone else method(lq[: shown + 1])[frames]
        if name not in found or name in again:
            found[name] = measure(gt[frames], hq)
        crops[name] = window(hq[-1], left, top, *SHEET_PX)
        Image.fromarray(crops[name]).save(kept)
    crops["ground truth"] = window(gt[shown], left, top, *SHEET_PX)
    return crops


def _clips(options: argparse.Namespace) -> list[Path]:
    clips = [
        p
        for p in list_media(options.hq, VIDEO_SUFFIXES)
        if hdr_transfer(p) is None and any(word in p.name for word in options.clips)
    ]
    if not clips:
        raise DataError(f"no sharp clips in {options.hq}")
    return clips


def _method(name: str, options: argparse.Namespace) -> Method:
    if name.count("+") == 1:
        one, other = name.split("+")
        return MeanOf(_method(one, options), _method(other, options))
    if name.endswith("-sharpened"):
        return Sharpened(_method(name.removesuffix("-sharpened"), options))
    if name == "bicubic":
        return bicubic
    if name.split("@")[0] == "star-small":
        return StarSmall(options.star_small_weights, seed=options.seed, detail=_detail(name))
    if name.startswith("causal-sr"):
        if options.weights is None:
            raise OptionError("causal-sr needs --weights: a file of `starvsr export`")
        return Causal(options.weights)
    if name in ("animevideov3", "x4plus"):
        if options.ncnn_model is None:
            raise OptionError(f"{name} needs --ncnn-model: a folder with its .param and .bin")
        return AnimeVideo(options.ncnn_model, options.threads, **({"model": X4PLUS} if name == "x4plus" else {}))
    known = "bicubic, star-small, causal-sr, animevideov3 or x4plus"
    raise OptionError(f"unknown method {name!r}: {known}, one of them with -sharpened behind it, or two as A+B")


def _detail(name: str) -> float | None:
    _, sign, detail = name.partition("@")
    try:
        found = float(detail) if sign else None
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found <= 1:
        raise OptionError(f"{name!r}: give --detail as a number from 0 to 1, as in star-small@0.5")
    return found


def _weights(name: str, options: argparse.Namespace) -> list[Path]:
    found = []
    for part in name.split("+"):
        if part.removesuffix("-sharpened").split("@")[0] == "star-small":
            found.append(options.star_small_weights or get_entry("star-small").packaged_weights())
        elif part.startswith("causal-sr"):
            found.append(Path(options.weights))
    return found


@dataclass
class _Store:
    """Scores as OUT/scores.json holds them, with the SHA-256 of the weights of methods that have any."""

    path: Path
    setting: Setting
    scores: Scores
    weights: dict[str, str]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tree = {"setting": self.setting.facts(), "weights": self.weights, "scores": self.scores}
        self.path.write_text(json.dumps(tree, indent=1) + "\n")


def _stored(path: Path, setting: Setting, digests: Mapping[str, str]) -> _Store:
    """Read what was measured, without scores of the methods named in ``digests`` that come from other weights."""
    if not path.is_file():
        return _Store(path, setting, {}, dict(digests))
    tree = json.loads(path.read_text())
    if tree["setting"] != setting.facts():
        raise OptionError(f"{path} holds scores of another setting ({tree['setting']}): give another --out")
    scores: Scores = tree["scores"]
    known = tree.get("weights", {})
    for name in (name for name, digest in digests.items() if known.get(name) != digest):
        dropped = [found.pop(name, None) for clips in scores.values() for found in clips.values()]
        if any(dropped):
            print(f"{name}: its weights are not those that {path} has scores of; measured anew", file=sys.stderr)
    return _Store(path, setting, scores, known | digests)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hq", type=Path, required=True, help="folder of sharp clips that nothing was trained on")
    parser.add_argument("--manifest", type=Path, help="CSV with the sharp_scale of each clip")
    parser.add_argument("--out", type=Path, default=Path("results/picture"), help="folder for scores and pictures")
    parser.add_argument("--methods", nargs="+", default=["bicubic", "star-small"])
    parser.add_argument("--damages", nargs="+", default=["light", "heavy", "crf28", "clean"])
    parser.add_argument(
        "--weights", type=Path, help="weights of causal-sr; name rows causal-sr-1, -2 to tell some apart"
    )
    parser.add_argument("--star-small-weights", type=Path, help="weights of star-small (default: as shipped)")
    parser.add_argument("--again", nargs="+", default=[], help="methods that are measured anew")
    parser.add_argument("--ncnn-model", type=Path, help="folder with the files of animevideov3 and x4plus")
    parser.add_argument("--clips", nargs="+", default=[""], help="only clips whose name contains one of these")
    parser.add_argument("--frames", type=int, default=10, help="frames of each clip")
    parser.add_argument("--measured", type=int, nargs="+", default=[4, 9], help="frames that are measured")
    parser.add_argument("--size", type=int, nargs=2, default=[640, 360], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    try:
        main()
    except StarVsrError as error:
        sys.exit(f"error: {error}")
