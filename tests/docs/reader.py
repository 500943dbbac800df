"""The folder of somebody who reads the pages: small files of all that they speak of, and programs to be typed."""

from __future__ import annotations

import json
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image

from starvsr.apps.cli import main
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import save_weights
from tests.docs.pages import ROOT
from tests.evaluation.benchmarks.made_sets import frames_of, set_of
from tests.jobs.interrupting import break_after_part
from tests.support.tiny_captioner import write_captioner
from tests.video.clips import make_clip
from tests.video.programs import ffmpeg

STABLEVSR = ROOT / "recipes" / "weights" / "stablevsr-tiny"
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=56x28:rate=25:duration=0.2")
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.2", "-shortest")


def write_programs(folder: Path) -> Path:
    """Write a folder for PATH: starvsr and python of this interpreter, and ffmpeg."""
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    for name, words in (("starvsr", "-m starvsr "), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (folder / name).chmod(0o755)
    return folder


def write_files(folder: Path) -> None:
    """Write what most pages speak of: a clip with sound, a folder of clips, photos and numbered frames."""
    for name in ("clips", "photos", "frames"):
        (folder / name).mkdir()
    for name in ("clip.mp4", "old.mp4", "clips/a.mp4"):
        ffmpeg(*PICTURE, *SOUND, "-pix_fmt", "yuv420p", folder / name)
    ffmpeg(*PICTURE, "-frames:v", "3", folder / "frames" / "f_%05d.png")
    for name in ("cat", "dog"):
        ffmpeg(*PICTURE, "-frames:v", "1", folder / "photos" / f"{name}.png")


def write_tree(folder: Path) -> None:
    """Let commands name what lies in the source tree."""
    for name in ("recipes", "examples", "integrations"):
        (folder / name).symlink_to(ROOT / name)


def _clip(path: Path, size: str = "96x64", seconds: float = 0.4, filters: str = "null") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"testsrc2=size={size}:rate=25:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, "-vf", filters, "-c:v", "libx264", "-crf", "12", path)


def _batch(folder: Path) -> None:
    for name in ("archive/a.mp4", "archive/tapes/b.mp4"):
        _clip(folder / name, "40x24", 0.2)
    (folder / "clips.jsonl").write_text(json.dumps({"input": "archive/a.mp4", "output": "listed.mkv"}) + "\n")


def _degradation(folder: Path) -> None:
    for name in ("a", "b"):
        _clip(folder / "CLIPS" / f"{name}.mp4", "160x128")


def _evaluation(folder: Path) -> None:
    for name in ("sharp.mp4", "gt/a.mp4", "gt/b.mp4"):
        _clip(folder / name)
    for name in ("out.mp4", *(f"{one}/{clip}.mp4" for one in ("results", "bicubic", "star") for clip in "ab")):
        _clip(folder / name, filters="unsharp=5:5:0.2")
    _clip(folder / "in.mp4", filters="scale=24:16")
    set_of(folder / "UDM10", ("GT", "LQ"), [f"{index:03d}" for index in range(10)], 32)

    (folder / "CLIPS").symlink_to("gt")
    (folder / "StableVSR").symlink_to(STABLEVSR)
    set_of(folder / "REDS", ("GT", "sharp_bicubic"), ("000", "011", "015", "020"), 1, (32, 32))
    set_of(folder / "Vid4", ("GT", "BIx4"), ("calendar", "city", "foliage", "walk"), 1)
    (folder / "MODELS").mkdir()
    for place in (folder / "MODELS", folder):
        write_networks(place)
    (folder / "RealESRGAN_x4plus.pth").touch()


def _guide(folder: Path) -> None:
    write_captioner(folder / "Salesforce" / "blip-image-captioning-base")


def _integrations(folder: Path) -> None:
    (folder / "ComfyUI" / "custom_nodes").mkdir(parents=True)


def _models(folder: Path) -> None:
    _clip(folder / "clip.mp4", "32x32", 0.08)
    (folder / "StableVSR").symlink_to(STABLEVSR)
    (folder / "OUTPUT").mkdir()
    (folder / "OUTPUT" / "controlnet").symlink_to(STABLEVSR / "controlnet")
    (folder / "DECODER").symlink_to(STABLEVSR / "guidance_decoder")
    from tests.models.cogvideox.release import write_release

    write_release(folder / "CogVideoX-5B-based")
    _sharp(folder)


def _performance(folder: Path) -> None:
    for name in ("CLIPS", "OURS", "THEIRS"):
        for clip in "abc":
            _clip(folder / name / f"{clip}.mp4", "128x96", 0.2, filters="unsharp=5:5:0.2" if name == "OURS" else "null")

    (folder / "MANIFEST.csv").write_text("file,notes\na.mp4,sharp_scale 0.9\n")
    write_causal_sr(folder / "both.safetensors")
    (folder / "MODELS").mkdir()
    write_networks(folder / "MODELS")
    (folder / "SRC_OF_ANOTHER_VERSION").symlink_to(ROOT / "src")


def _reliability(folder: Path) -> None:
    rng = np.random.default_rng(0)
    shots = rng.integers(0, 256, (3, 12, 16, 3)).repeat(2, 1).repeat(2, 2).repeat(8, 0)
    make_clip(folder / "film.mkv", shots.astype(np.uint8), rate=Fraction(4))


def _sharp(folder: Path) -> None:
    """Write what is trained on."""
    rng = np.random.default_rng(0)
    (folder / "HQ_PHOTOS").mkdir()
    for index in range(2):
        pixels = rng.integers(0, 256, (20, 20, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "HQ_PHOTOS" / f"{index}.png")
    for name in ("HQ_VIDEOS", "VAL_VIDEOS", "TEST_VIDEOS"):
        _clip(folder / name / "a.mp4", "160x128", 0.6)


_RECIPE = """
model = "star-small"
network = { width = 24, head_dim = 8, context_dim = 8 }

[data]
photos = "HQ_PHOTOS"
degradation = "light"
num_frames = 2
lq_crop = 12
clip_frames = 2
gt_size = 64
pool_size = 2
crops_per_clip = 2
batch = 1

[[stage]]
objective = "velocity"
steps = 1
warmup = 0
"""


def _training(folder: Path) -> None:
    _clip(folder / "clip.mp4", "32x32", 0.08)
    (folder / "RECIPE").write_text(_RECIPE)
    for name in ("CAPTIONS", "MODELS"):
        (folder / name).mkdir()
    (folder / "CAPTIONS" / "a.txt").write_text("a test pattern\n")
    write_networks(folder / "MODELS")
    for clip in ("000", "001", "011", "015", "020"):
        frames_of(folder / "REDS" / "train_sharp" / clip, 3, (96, 96))
        frames_of(folder / "REDS" / "train_sharp_bicubic" / "X4" / clip, 3, (24, 24))
    _sharp(folder)


_OF_PAGES = {
    "batch.md": _batch,
    "degradation.md": _degradation,
    "evaluation.md": _evaluation,
    "guide.md": _guide,
    "integrations.md": _integrations,
    "models.md": _models,
    "performance.md": _performance,
    "reliability.md": _reliability,
    "training.md": _training,
}


def write_reader(folder: Path, page: str = "") -> Path:
    """Write the folder of a reader of this page; return it."""
    folder.mkdir(exist_ok=True)
    write_files(folder)
    write_tree(folder)
    write_programs(folder / "programs")
    if page in _OF_PAGES:
        _OF_PAGES[page](folder)
    return folder


def interrupt(folder: Path) -> None:
    """Leave an interrupted job of film.mkv where the page speaks of one (that on reliability), unless there is one."""
    if (folder / "film.mkv").exists() and not (folder / "big.mkv.job").exists():
        (folder / "big.mkv").unlink(missing_ok=True)
        break_after_part(folder / "film.mkv", folder / "big.mkv")


def write_networks(folder: Path) -> None:
    """Write files that stand for networks of ncnn; `tests/support/packages` reads them."""
    for name in ("realesr-animevideov3-x4", "realesrgan-x4plus"):
        for suffix in ("param", "bin"):
            (folder / f"{name}.{suffix}").touch()


def write_causal_sr(file: Path) -> None:
    """Write weights of a small causal-sr with both ends."""
    sizes = {"width": 8, "num_blocks": 2, "memory": 1, "up_width": 4, "thin_width": 4}
    faithful, vivid = (CausalSR(CausalSRConfig(**sizes)).state_dict() for _ in range(2))
    save_weights(join_ends(faithful, vivid), file, dtype=torch.float32, metadata={"network": json.dumps(sizes)})


def fetch_starts(_: Path) -> None:
    """Have what STAR's training begins with."""
    for name in ("venhancer", "svd-vae", "sd2-text"):
        assert main(["models", "fetch", name, "-q"]) == 0


def leave_interrupted(run: Path) -> None:
    """Take the newest checkpoint of a training run, and what it exported, away: as if it had been killed before."""
    *older, newest = sorted(run.glob("step-*.pt"))
    assert older
    newest.unlink()
    for weights in run.glob("*.safetensors"):
        weights.unlink()


def copy_batch(folder: Path) -> None:
    """Take the batch of the page for the pilot."""
    shutil.copytree(folder / "large", folder / "pilot")


def vote(folder: Path) -> None:
    """Write A behind each number."""
    votes = folder / "blind" / "votes.csv"
    first, *lines = votes.read_text().splitlines()
    votes.write_text("\n".join([first, *(f"{line.rstrip(',')},A" for line in lines)]) + "\n")


def copy_report(folder: Path) -> None:
    """Have two reports out of one."""
    for name in ("report_a", "report_b"):
        shutil.copytree(folder / "report", folder / name)
