"""`train`, `export` and `degrade` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from starvsr.apps.cli import main
from starvsr.data.paired import PairedClips
from starvsr.degradation.presets import PRESETS
from starvsr.families import registry
from starvsr.video.codec_pass import read_clip, write_lossless
from tests.training.tiny import TINY, write_recipe


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return write_recipe(tmp_path)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharp")
    rng = np.random.default_rng(0)
    for name, num_frames in (("a", 5), ("b", 3)):
        small = rng.integers(0, 255, (num_frames, 9, 12, 3), np.uint8)
        write_lossless(folder / f"{name}.mkv", small.repeat(8, 1).repeat(8, 2), 24)
    (folder / "a.txt").write_text("squares of colour\n")
    return folder


SHORT = [f"--override={word}" for word in (
    "stage.0.steps=1", "stage.1.steps=1", "stage.1.objective=one-step", "stage.1.losses.adversarial=0.0",
    "data.workers=0", "run.validate_every=2", "run.validation_samples=1", "run.sample_videos=1",
    "run.tensorboard=true", 'run.validation_metrics=["weave"]',
)]  # fmt: skip


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_train_resume_export(recipe: Path, tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, folder = tmp_path / "validation", tmp_path / "run"
    clips.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (9, 34, 34, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_lossless(clips / "v.mkv", pixels)
    words = ["train", recipe, "-o", folder, *SHORT, f"--override=data.validation_videos={clips}"]
    assert run(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("star-small.safetensors")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = next(line for line in lines if line.get("event") == "validation")
    assert {"psnr", "psnr_bicubic", "ssim"} <= found.keys() and 0 < found["ssim"] < 1 and found["weave"] > 0
    assert read_clip(folder / "samples" / "step-00000002" / "0.mp4").shape == (5, 256, 3 * 256, 3)
    assert list((folder / "tensorboard").iterdir())
    assert run(*words) == 1 and "resume it with --resume" in capsys.readouterr().err
    assert run(*words, "--resume", "--override=data.batch=2") == 1
    assert "data.batch: 1 -> 2" in capsys.readouterr().err
    assert run(*words, "--resume", "--override=data.batch=2", "--allow-changes") == 0
    out = tmp_path / "exported" / "mine.safetensors"
    assert run("export", folder, "-o", out) == 0
    with safe_open(out, "pt") as weights:
        assert weights.metadata()["step"] == "2" and json.loads(weights.metadata()["network"]) == {"dropout": 0.1}
    card = out.with_suffix(".md").read_text()
    assert "after 2 steps" in card and "| 1 | one-step | 1 |" in card and f"| ssim | {found['ssim']} |" in card
    raw, both = tmp_path / "raw.safetensors", tmp_path / "both.safetensors"
    assert run("export", folder, "-o", raw, "--raw") == 0
    assert raw.read_bytes() != out.read_bytes()
    assert run("export", folder, "-o", both, "--vivid", raw, "--int8") == 0
    for words in (["--weights", both, "--detail", "0.3"], ["--weights", raw]):
        made = tmp_path / f"{len(words)}.mkv"
        assert run("upscale", clips / "v.mkv", "-o", made, "--duration", "0.1", "--model", "tiny", *words) == 0
    assert (tmp_path / "4.mkv").read_bytes() != (tmp_path / "2.mkv").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "none.toml"], "no such recipe"),
        (["train", "RECIPE", "-o", "new", "--resume"], "no run to resume"),
        (["train", "RECIPE", "-o", "new", "--override=network.depth=3"], "unknown recipe key network.depth"),
        (["train", "RECIPE", "-o", "new", "--override=network.liem_position=atfer"], "must be one of 'before'"),
        (["train", "RECIPE", "-o", "new", "--override=stage.0.losses.grid=1"], "is for the objective regression"),
        (["train", "RECIPE", "-o", "new", "--override=model=bicubic"], "bicubic cannot be trained: choose from"),
        (["train", "RECIPE", "-o", "new", "--override=run.validation_metrics=['nice']"], "unknown metric 'nice'"),
        (["export", "none"], "no such folder"),
        (["export", "."], "no checkpoint"),
        (["export", ".", "-o", "w.pt"], "safetensors"),
        (["export", ".", "--faithful", "a", "--vivid", "b"], "exclude each other"),
        (["export", ".", "--int8", "--lora"], "leave out --lora"),
    ],
)
def test_mistakes_are_one_line(
    recipe: Path, tmp_path: Path, words: list[str], said: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*(str(recipe) if word == "RECIPE" else word for word in words)) == 1
    assert said in capsys.readouterr().err


def test_plan_tells_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "star-2b.toml"
    words = ["--override=network.width=32", "--override=network.head_dim=32", "--override=data.num_frames=2"]
    assert run("train", shipped, "--plan", "--devices", "4", *words, "--override=data.lq_crop=36") == 0
    said = capsys.readouterr().out
    assert "4 device(s)" in said and "fits 80 GiB" in said


def test_degrade_one_clip(sharp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = [tmp_path / f"{name}.mkv" for name in "abc"]
    for out, seed in zip(outs, ("1", "1", "2"), strict=True):
        assert run("degrade", sharp / "a.mkv", "-o", out, "--preset", "light", "--seed", seed) == 0
    first, again, other = (read_clip(out) for out in outs)
    assert first.shape == (5, 18, 24, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert run("degrade", sharp / "a.mkv", "-o", outs[0]) == 1
    assert run("degrade", sharp / "a.mkv", "-o", tmp_path / "d.mkv", "--preset", "awful") == 1
    assert "use one of light, medium, heavy, video-web, old-film" in capsys.readouterr().err


def test_degrade_by_a_mix_and_its_help_names_every_preset(
    sharp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = "light:1, clean:3"
    assert run("degrade", sharp / "a.mkv", "-o", tmp_path / "mixed.mkv", "--preset", mix, "--seed", 2) == 0
    assert read_clip(tmp_path / "mixed.mkv").shape == (5, 18, 24, 3)
    assert run("degrade", sharp / "a.mkv", "-o", tmp_path / "no.mkv", "--preset", "light:none") == 1
    assert "'light:none' is no NAME:SHARE" in capsys.readouterr().err and not (tmp_path / "no.mkv").exists()
    run("degrade", "--help")
    words = capsys.readouterr().out.replace(",", " ").replace(";", " ").split()
    assert set(PRESETS) <= set(words)


def test_degrade_a_set(sharp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["degrade", sharp, "--frames", "2", "--clips", "2", "--preset", "heavy", "--max-size", "64x64"]
    assert run(*words, "-o", tmp_path / "set") == 0
    said = capsys.readouterr().out
    assert "a_001: made" in said and "b_001: too short for part 2" in said and "3 of 4 pairs made" in said
    pairs = PairedClips(tmp_path / "set")
    assert [pair.gt.stem for pair in pairs.pairs] == ["a_000", "a_001", "b_000"]
    assert pairs[0]["caption"] == "squares of colour" and pairs[2]["caption"] == ""
    assert pairs[0]["gt"].shape == (3, 2, 64, 64) and pairs[0]["lq"].shape == (3, 2, 16, 16)
    before = (tmp_path / "set/lq/a_000.mkv").read_bytes()
    (tmp_path / "set/lq/a_001.mkv").unlink()
    assert run(*words, "-o", tmp_path / "set") == 0
    assert "1 of 4 pairs made" in capsys.readouterr().out
    assert (tmp_path / "set/lq/a_000.mkv").read_bytes() == before
    assert not [path for path in (tmp_path / "set").rglob(".*")]
    assert run(*words, "-o", tmp_path / "set", "--seed", "3") == 1
    assert "seed 0 -> 3" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text(f"path,text\n{sharp / 'b.mkv'},two  words\n")
    assert run("degrade", tmp_path / "list.csv", "-o", tmp_path / "csv", *words[2:], "--storage", "near-lossless") == 0
    item = PairedClips(tmp_path / "csv")[0]
    assert item["name"] == "b_000" and item["caption"] == "two words"
    luma = torch.tensor([0.299, 0.587, 0.114])
    grey, exact = (torch.einsum("cthw,c->thw", clip["gt"], luma) for clip in (item, pairs[2]))
    assert 0 < (grey - exact).abs().mean() < 0.03
    (tmp_path / "list.csv").write_text("path,text\nnowhere.mp4,\n")
    assert run("degrade", tmp_path / "list.csv", "-o", tmp_path / "bad") == 1
    assert "names nowhere.mp4" in capsys.readouterr().err


def test_the_released_chain_and_its_width_bug(sharp: Path, tmp_path: Path) -> None:
    words = ["degrade", sharp, "--chain", "released", "--frames", "1", "--max-size", "96x72"]
    items = []
    for name, more in (("bug", []), ("mended", ["--no-width-bug"]), ("soft", ["--no-sharpen-gt"])):
        assert run(*words, *more, "-o", tmp_path / name) == 0
        items.append(PairedClips(tmp_path / name)[0])
    bug, mended, soft = items
    assert torch.equal(bug["gt"], mended["gt"]) and not torch.equal(bug["lq"], mended["lq"])
    assert not torch.equal(bug["gt"], soft["gt"])
    assert run("degrade", sharp / "a.mkv", "--chain", "released", "-o", tmp_path / "x.mkv") == 1


def test_sheet_shows_every_preset(sharp: Path, tmp_path: Path) -> None:
    assert run("degrade", sharp / "b.mkv", "--sheet", "-o", tmp_path / "sheet.png") == 0
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    columns = [pixels[20:80, 100 * i : 100 * i + 96] for i in range(12)]
    assert pixels.shape[1] == 12 * 100  # the sharp picture and every preset but the mixes
    assert len({column.tobytes() for column in columns}) == 12
    assert run("degrade", sharp / "b.mkv", "--sheet", "-o", tmp_path / "sheet.png") == 1
