from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from starvsr.metrics.vmaf import has_vmaf
from starvsr.video import probe
from starvsr.video.codec_pass import write_lossless
from tests.metrics import synthetic_clips

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch):
    def run_example(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *(str(a) for a in arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    return run_example


def test_make_sample_clip(run, tmp_path):
    pytest.importorskip("skimage")
    run("make_sample_clip.py", tmp_path / "sample.mp4")
    info = probe(tmp_path / "sample.mp4")
    assert (info.width, info.height, info.has_audio) == (320, 180, True)


def test_upscale_from_python(run, tmp_path, capsys):
    write_lossless(tmp_path / "in.mkv", synthetic_clips.reference(3, 32, 48))
    run("upscale_from_python.py", tmp_path / "in.mkv", tmp_path / "out.mkv", "bicubic")
    assert "3 frames of 192x128" in capsys.readouterr().out
    assert (probe(tmp_path / "out.mkv").width, probe(tmp_path / "out.mkv").height) == (192, 128)


@pytest.mark.skipif(not has_vmaf(), reason="imageio-ffmpeg with libvmaf is not installed")
def test_compare_two_clips(run, tmp_path, capsys):
    clip = synthetic_clips.reference(2, 64, 64)
    write_lossless(tmp_path / "gt.mkv", clip)
    write_lossless(tmp_path / "hq.mkv", np.clip(clip.astype(int) + 5, 0, 255).astype(np.uint8))
    run("compare_two_clips.py", tmp_path / "gt.mkv", tmp_path / "hq.mkv")
    out = capsys.readouterr().out
    assert out.split()[::2] == ["psnr_y_db", "ssim_y", "vmaf_neg", "warping_error_x1e3"]
    assert 34 < float(out.split()[1]) < 37


def test_caption_with_transformers(run, tmp_path, capsys):
    pytest.importorskip("transformers")
    from PIL import Image

    from tests.support.tiny_captioner import WORDS, write_captioner

    folder = write_captioner(tmp_path / "blip")
    capsys.readouterr()
    for number in (1, 2):
        Image.new("RGB", (40, 30), (90 * number, 9, 9)).save(tmp_path / f"frame_{number}.png")
    run("caption_with_transformers.py", "--model", folder, *sorted(tmp_path.glob("frame_*.png")))
    (said,) = capsys.readouterr().out.splitlines()
    assert set(said.replace(",", "").split()) <= set(WORDS)
    example = runpy.run_path(str(EXAMPLES / "caption_with_transformers.py"))
    assert example["joined"](["a  cat", "a dog", "a dog", "", "an eel", "an ox"]) == "a dog, a cat, an eel"


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_a_missing_input_or_folder_is_one_line(run, tmp_path, example):
    if "onnx" in example:
        pytest.importorskip("onnxruntime")
    count = {"make_sample_clip.py": 1, "upscale_with_onnx.py": 3, "use_the_server.py": 3}.get(example, 2)
    arguments = [tmp_path / "no" / "a.mp4"] * count
    with pytest.raises(SystemExit, match=r"^error: ") as told:
        run(example, *arguments)
    assert "\n" not in str(told.value)


def test_upscale_with_vapoursynth():
    vs = pytest.importorskip("vapoursynth")
    runpy.run_path(str(EXAMPLES / "upscale.vpy"))
    clip = vs.get_output(0).clip
    assert (clip.width, clip.height, clip.num_frames, clip.format.name) == (320, 180, 6, "YUV420P10")
    assert clip.get_frame(0).props["_Matrix"] == vs.MATRIX_BT709
    vs.clear_outputs()
