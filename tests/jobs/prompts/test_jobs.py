"""Prompts in jobs: what is used is what is told; resumed jobs do not ask again; models without text refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import starvsr
from starvsr.apps.cli import main
from starvsr.engine.progress import UpscaleResult
from starvsr.errors import CaptionError, JobError, OptionError, PromptTooLongError
from starvsr.jobs.folder import job_path
from tests.jobs.interrupting import Broken, break_after_part, break_at, breaker, records
from tests.jobs.prompts.captioning import Captioner, film
from tests.support.doubles import NearestUpscaler
from tests.support.tiny_star import TinyStar

SMALL = {"steps": 1, "frame_rate": 4, "scene_cuts": False}
WORDS = ["--model", "star-light", "--steps", "1", "--frame-rate", "4", "--no-scene-cuts", "--threads", "1"]


@pytest.fixture(autouse=True)
def _star_light(reader: NearestUpscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command load the quick model as star-light."""
    monkeypatch.setattr("starvsr.families.star_i2vgen.load.load", lambda spec, **options: reader)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return film(tmp_path / "my clip")


def used(result: UpscaleResult) -> tuple[str | None, str | None]:
    return result.provenance["options"].get("prompt"), result.provenance.get("prompt_source")


def test_the_prompt_of_each_place_is_the_same_prompt(
    clip: Path, tmp_path: Path, star: TinyStar, captioner: Captioner
) -> None:
    out = tmp_path / "o.mkv"

    def run(**options: object) -> UpscaleResult:
        return starvsr.upscale(clip, out, upscaler=star, overwrite=True, **SMALL, **options)

    none, plain = run(), pixels(out)
    given = run(prompt="a barn")
    wanted = pixels(out)
    assert used(none) == (None, None) and used(given) == ("a barn", None) and not none.notes and not given.notes
    assert not np.array_equal(plain, wanted)
    beside = tmp_path / "my clip.txt"
    beside.write_text("a barn\n")
    (tmp_path / "lines.txt").write_text("a barn")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "my clip.txt").write_text("a\nbarn")
    for options, source in (
        ({}, "my clip.txt"),
        ({"prompt_from": tmp_path / "texts"}, "texts/my clip.txt"),
        ({"prompt_from": str(tmp_path / "lines.txt")}, "lines.txt, line 1"),
        ({"prompt_from": "none", "caption": captioner.command("a barn")}, "--caption"),
    ):
        result = run(**options)
        assert used(result) == ("a barn", source) and f"prompt of {source}: a barn" in result.notes
        assert np.array_equal(pixels(out), wanted)
        assert str(tmp_path) not in json.dumps(result.provenance)
    assert captioner.calls == [3]
    assert used(run(caption=captioner.command()))[1] == "my clip.txt"  # a text that is there goes first
    assert used(run(prompt="a cat")) == ("a cat", None) and used(run(prompt_from="none")) == (None, None)
    assert captioner.calls == [3] and not job_path(out).exists()


def pixels(path: Path) -> np.ndarray:
    with starvsr.video.VideoReader(path) as reader:
        return np.stack([frame.pixels for frame in reader])


def test_a_prompt_that_the_model_was_loaded_with_goes_before_a_text_that_only_lies_there(
    clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "my clip.txt").write_text("a barn")
    told = TinyStar(prompt="a cat")
    out = tmp_path / "o.mkv"
    assert used(starvsr.upscale(clip, out, upscaler=told, **SMALL)) == ("a cat", None)
    result = starvsr.upscale(clip, out, upscaler=told, prompt_from=tmp_path, overwrite=True, **SMALL)
    assert used(result)[0] == "a barn"


def test_models_that_read_no_text_refuse_the_options_by_name_and_ask_nothing(
    clip: Path, tmp_path: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my clip.txt").write_bytes(b"\xff")  # is not even opened
    for name, value in (("--caption", captioner.command()), ("--prompt-from", "none")):
        assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mkv"), "--model", "bicubic", name, value]) == 1
        assert f"model bicubic has no use for {name}: leave it out" in capsys.readouterr().err
    starvsr.upscale(clip, tmp_path / "o.mkv", model="bicubic")
    assert not captioner.calls and not job_path(tmp_path / "o.mkv").exists()
    with pytest.raises(OptionError, match="--caption is an option of a job"):
        starvsr.load_upscaler("star-light", caption="describe")


def test_a_dry_run_tells_the_prompt_and_asks_nothing(
    clip: Path, tmp_path: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> str:
        assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mkv"), "--dry-run", *WORDS, *words]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("prompt:"))

    assert "none, the model's own" in told()
    assert "a cat (--prompt)" in told("--prompt", "a cat")
    assert "(--caption; not asked" in told("--caption", captioner.command())
    (tmp_path / "my clip.txt").write_text("a barn")
    assert "a barn (my clip.txt)" in told()
    assert not captioner.calls and not job_path(tmp_path / "o.mkv").exists()


def test_a_prompt_that_is_too_long_is_refused_with_its_place(
    clip: Path, tmp_path: Path, star: TinyStar, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(values: dict[str, str]) -> None:
        raise PromptTooLongError(values["prompt"], 90, 75)

    monkeypatch.setattr(star, "pipeline", refuse)
    (tmp_path / "my clip.txt").write_text("cat " * 90)
    out = tmp_path / "o.mkv"
    with pytest.raises(PromptTooLongError, match=r"^my clip.txt: the prompt has 90 tokens, .* reads 75: shorten it$"):
        starvsr.upscale(clip, out, upscaler=star, **SMALL)
    with pytest.raises(CaptionError, match=r"the sentence has 90 tokens.*let the command print a shorter.*--restart"):
        starvsr.upscale(clip, out, upscaler=star, prompt_from="none", caption=captioner.command(), **SMALL)


def test_a_batch_takes_a_line_for_each_input_and_forgets_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [film(tmp_path / name, 1) for name in ("b 1", "a")]
    lines = tmp_path / "lines.txt"
    lines.write_text("first\nsecond\n")
    out = tmp_path / "out"
    words = ["upscale", *map(str, clips), "-o", f"{out}/", "--images", "film", *WORDS]
    assert main([*words, "--prompt-from", str(lines)]) == 0
    said = capsys.readouterr().err
    assert "prompt of lines.txt, line 1: first" in said and "prompt of lines.txt, line 2: second" in said
    (tmp_path / "b 1.txt").write_text("beside")
    assert main([*words, "--restart", "-y"]) == 0
    assert capsys.readouterr().err.count("prompt of ") == 1  # the second has none, not that of the first
    (tmp_path / "a.txt").write_text("")
    assert main([*words, "--restart", "-y"]) == 1
    said = capsys.readouterr().err
    assert "a.txt: empty" in said and "prompt of" not in said  # refused before the first begins
    assert main([*words, "--restart", "-y", "--on-error", "skip"]) == 1
    assert "prompt of b 1.txt: beside" in capsys.readouterr().err


def test_texts_are_passed_over_only_where_none_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = film(tmp_path / "photos", 0)
    for name in ("cat", "dog"):
        Image.new("RGB", (12, 10)).save(folder / f"{name}.png")
    (folder / "cat.txt").write_text("a cat")
    (folder / "notes.txt").write_text("x")
    words = ["upscale", str(folder), "-o", str(tmp_path / "out"), "--dry-run"]
    assert main([*words, *WORDS[:4]]) == 0
    assert "passed over 1 file (notes.txt)" in capsys.readouterr().err
    assert main([*words, "--model", "bicubic"]) == 0
    assert "passed over 2 files" in capsys.readouterr().err


def test_a_resumed_job_does_not_ask_again_and_gives_the_same_bytes(
    tmp_path: Path, reader: NearestUpscaler, captioner: Captioner
) -> None:
    clip = film(tmp_path / "long", 20)
    options = {**SMALL, "segment": 4, "overlap": 1, "caption": captioner.command(), "caption_frames": 2}
    whole, out = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    starvsr.upscale(clip, whole, upscaler=reader, **options)
    break_at(clip, out, 1, upscaler=reader, **options)  # no part is finished yet: the caption is
    assert [record["text"] for record in records(out, "caption")] == ["a red barn in the snow"]
    break_after_part(clip, out, upscaler=reader, **options)
    assert records(out, "part") and captioner.calls == [2, 2]
    with pytest.raises(JobError, match=r"--caption: .* before, .* now. Give the settings of before"):
        starvsr.upscale(clip, out, upscaler=reader, **{**options, "caption": captioner.command("another")})
    assert main(["jobs", "show", str(out)]) == 0 and captioner.calls == [2, 2]
    assert main(["jobs", "resume", str(out), "-q"]) == 0
    assert captioner.calls == [2, 2] and out.read_bytes() == whole.read_bytes()
    starvsr.upscale(clip, out, upscaler=reader, overwrite=True, **options)
    assert captioner.calls == [2, 2, 2]  # another job


def test_restart_asks_again_and_keeps_that(tmp_path: Path, reader: NearestUpscaler, captioner: Captioner) -> None:
    clip, out = film(tmp_path / "long", 20), tmp_path / "o.mkv"
    options = {**SMALL, "segment": 4, "overlap": 1, "upscaler": reader}
    break_at(clip, out, 9, caption=captioner.command("one"), **options)
    break_at(clip, out, 9, caption=captioner.command("two"), restart=True, **options)
    assert [record["text"] for record in records(out, "caption")] == ["two"]
    assert used(starvsr.upscale(clip, out, caption=captioner.command("two"), **options))[0] == "two"
    assert len(captioner.calls) == 2


def test_a_job_whose_text_has_changed_is_refused_and_resumed_as_it_was_begun(
    tmp_path: Path, reader: NearestUpscaler
) -> None:
    clip, out = film(tmp_path / "long", 20), tmp_path / "o.mkv"
    options = {**SMALL, "segment": 4, "overlap": 1, "upscaler": reader}
    text = tmp_path / "long.txt"
    text.write_text("a barn")
    whole = starvsr.upscale(clip, tmp_path / "whole.mkv", **options)
    break_at(clip, out, 9, **options)
    text.write_text("a boat")
    with pytest.raises(JobError, match="--prompt: a barn before, a boat now"):
        starvsr.upscale(clip, out, **options)
    text.unlink()
    assert main(["jobs", "resume", str(out), "-q"]) == 0
    assert out.read_bytes() == whole.output.read_bytes()


KILLED = """
import os, sys
import starvsr.families.star_i2vgen.load as load
from starvsr.apps.cli import main
load.load = lambda spec, **options: os._exit(9)
main(sys.argv[1:])
"""


def test_a_process_that_is_killed_while_it_loads_the_model_has_kept_the_caption(
    clip: Path, tmp_path: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "o.mkv"
    out.parent.mkdir()
    words = ["upscale", str(clip), "-o", str(out), *WORDS, "--caption", captioner.command()]
    assert subprocess.run([sys.executable, "-c", KILLED, *words], check=False).returncode == 9
    assert os.listdir(out.parent) == ["o.mkv.job"] and captioner.calls == [3]
    assert main(["jobs", "list", str(out.parent)]) == 0
    assert "interrupted before its plan was made" in capsys.readouterr().out
    assert main(["jobs", "resume", str(out)]) == 1
    assert "it has a caption and no plan yet; give the command that began it" in capsys.readouterr().err
    assert main(words) == 0 and captioner.calls == [3]
    assert os.listdir(out.parent) == ["o.mkv"]
    assert main([*words[:3], str(tmp_path / "out" / "p.mkv"), *WORDS, "--caption", "no-such-captioner"]) == 1
    assert os.listdir(out.parent) == ["o.mkv"]  # a captioner that fails leaves nothing


def test_each_photo_has_its_own_caption_and_is_asked_for_once(
    tmp_path: Path, reader: NearestUpscaler, captioner: Captioner
) -> None:
    folder = film(tmp_path / "photos", 0)
    for number, name in enumerate(("cat", "dog", "eel")):
        Image.new("RGB", (12, 10), (40 * number, 0, 9)).save(folder / f"{name}.png")
    (folder / "dog.txt").write_text("a dog")
    out = tmp_path / "out"
    options = {"steps": 1, "upscaler": reader, "caption": captioner.command("a pet")}
    with pytest.raises(Broken):
        starvsr.upscale(folder, out, on_progress=breaker(2), **options)
    assert captioner.calls == [1]
    assert [record["prompt"] for record in records(out, "photo")] == ["a pet", "a dog"]
    result = starvsr.upscale(folder, out, **options)
    assert (result.num_frames, result.num_kept) == (3, 2) and captioner.calls == [1, 1]
    assert used(result) == (None, "one for each photo")


def test_a_photo_whose_text_has_changed_is_made_again(tmp_path: Path, reader: NearestUpscaler) -> None:
    folder, out = film(tmp_path / "photos", 0), tmp_path / "out"
    for name in ("cat", "dog"):
        Image.new("RGB", (12, 10), (9, 0, 9)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    with pytest.raises(Broken):
        starvsr.upscale(folder, out, on_progress=breaker(1), steps=1, upscaler=reader)
    (folder / "cat.txt").write_text("another cat")
    assert starvsr.upscale(folder, out, steps=1, upscaler=reader).num_kept == 0
