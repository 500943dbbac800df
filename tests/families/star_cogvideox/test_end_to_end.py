"""From a release as its authors lay it out to a video with sound, by the command; killed and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr import probe
from starvsr.apps.cli import main
from starvsr.families.star_cogvideox import load
from tests.jobs.interrupting import break_at, records, run_to_end
from tests.support.killed_command import kill_and_resume
from tests.video.programs import ffmpeg

MODEL = "star-cogvideox-5b"


def film(path: Path, num_frames: int, size: str, rate: int = 8) -> Path:
    """A clip with sound, as long as its pictures."""
    seconds = num_frames / rate
    pictures = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]
    sound = ["-f", "lavfi", "-i", f"sine=duration={seconds}"]
    is_odd = any(int(side) % 2 for side in size.split("x"))
    pixels = "yuv444p" if is_odd else "yuv420p"
    ffmpeg(*pictures, *sound, "-c:v", "libx264", "-qp", "10", "-pix_fmt", pixels, "-c:a", "aac", path)
    return path


def sound_of(path: Path) -> bytes:
    return ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-")


@pytest.mark.parametrize(
    ("num_frames", "size", "scale"),
    [(61, "16x16", 1), (1, "6x10", 4), (2, "17x13", 1), (6, "10x6", 3)],
    ids=["61 frames", "1 frame, portrait, x4", "2 frames, odd", "6 frames, x3"],
)
def test_every_clip_comes_out_as_long_as_it_was(release, tmp_path, capsys, num_frames, size, scale):
    clip, out = film(tmp_path / "in.mp4", num_frames, size), tmp_path / "out.mp4"
    words = ["--model", MODEL, "--weights", str(release), "--steps", "1", "--guidance", "1", "--scale", str(scale)]
    assert main(["upscale", str(clip), "-o", str(out), *words, "-q"]) == 0, capsys.readouterr().err
    info, source = probe(out), probe(clip)
    width, height = (scale * int(side) // 2 * 2 for side in size.split("x"))  # an .mp4 has even sides
    assert (info.width, info.height) == (width, height)
    assert info.estimated_frames == source.estimated_frames == num_frames
    assert info.frame_rate == source.frame_rate and sound_of(out) == sound_of(clip) != b""


def test_an_interrupted_job_gives_the_bytes_of_an_undisturbed_one(release, tmp_path):
    clip = film(tmp_path / "in.mp4", 20, "16x16", rate=2)
    options = {"model": MODEL, "weights": release, "steps": 2, "segment": 8, "scale": 1, "prompt": "a cat"}
    run_to_end(clip, tmp_path / "whole.mp4", **options)
    break_at(clip, tmp_path / "cut.mp4", 15, **options)
    assert len(records(tmp_path / "cut.mp4", "part")) == 1
    run_to_end(clip, tmp_path / "cut.mp4", **options)
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_killed_command_is_resumed_to_the_same_bytes(release, tmp_path):
    clip, whole, cut = film(tmp_path / "in.mp4", 20, "16x16", rate=2), tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    words = ["--steps", "1", "--guidance", "1", "--segment", "8", "--overlap", "0", "--scale", "1"]
    kill_and_resume(MODEL, release, clip, whole, cut, *words)
    assert cut.read_bytes() == whole.read_bytes() and sound_of(cut) == sound_of(clip) != b""


def test_the_text_encoder_is_read_once_for_all_texts_of_a_job(release, tmp_path, capsys, monkeypatch):
    clip, read = film(tmp_path / "in.mp4", 1, "16x16"), []
    (tmp_path / "in.txt").write_text("a cat walks\n")
    texts: list[str] = []
    load_text_encoder, encode_prompt = load.load_text_encoder, load.encode_prompt
    monkeypatch.setattr(load, "load_text_encoder", lambda files: read.append(1) or load_text_encoder(files))
    monkeypatch.setattr(load, "encode_prompt", lambda *given: texts.append(given[2]) or encode_prompt(*given))
    words = ["--model", MODEL, "--weights", str(release), "--steps", "1", "--negative-prompt", "fog"]
    assert main(["upscale", str(clip), "-o", str(tmp_path / "out.mp4"), *words]) == 0, capsys.readouterr().err
    assert len(read) == 1 and texts == ["a cat walks", "fog"]
    assert "prompt of in.txt: a cat walks" in capsys.readouterr().err


def test_a_dry_run_tells_what_is_needed(release, tmp_path, capsys):
    clip = film(tmp_path / "in.mp4", 9, "16x16")
    assert main(["upscale", str(clip), "--model", MODEL, "--weights", str(release), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "predicted: " in told and "encod" in told and "sampl" in told
