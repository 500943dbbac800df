"""The tiny StableVSR and its small decoder that lie in recipes/weights: whole, anonymous, and as good as is said."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from safetensors import safe_open

import starvsr
from benchmarks.quality.stablevsr_shortcuts import enlarge, moving_photo, rms
from starvsr.apps.cli import main
from starvsr.families.registry import get_entry
from starvsr.models.weights import digest
from starvsr.video.codec_pass import read_clip, write_lossless

ROOT = Path(__file__).parents[2]
PLACE = Path("recipes/weights/stablevsr-tiny")
CARD = (ROOT / PLACE / "README.md").read_text()
FILES = [path for path in sorted((ROOT / PLACE).rglob("*")) if path.is_file() and path.suffix != ".sha256"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy at the same place: loading leaves notes of digests beside weights."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / PLACE, tree / PLACE, ignore=shutil.ignore_patterns("*.sha256"))
    return tree


def test_they_are_small_and_the_card_has_their_digests():
    assert sum(path.stat().st_size for path in FILES) < 3_000_000
    told = dict(re.findall(r"^\| `(\S+\.safetensors)` \|.*\| `([0-9a-f]{64})` \|$", CARD, re.M))
    found = {str(path.relative_to(ROOT / PLACE)): digest(path) for path in FILES if path.suffix == ".safetensors"}
    assert told == found and len(found) == 5


def test_nothing_in_them_tells_of_the_machine_they_were_trained_on():
    for path in FILES:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                assert file.metadata() == {"format": "pt"}
        else:
            assert not re.search(r"(^|[\s\"'(])(/\w|[A-Z]:\\)", path.read_text()), path


def test_the_small_decoder_costs_what_the_card_says(tree):
    """Less than a quarter of what leaving the TCM out does, on three frames in four steps; two seeds are the unit."""

    def load(**options):
        return get_entry("stablevsr").load(weights=tree / PLACE, flow="dis", **options)

    model, small = load(), load(guidance_decoder=tree / PLACE)
    lq = moving_photo(3)
    whole = enlarge(model, lq, 4)
    unit = rms(whole, enlarge(model, lq, 4, seed=1))
    by_small = rms(enlarge(small, lq, 4), whole) / unit
    without = rms(enlarge(model, lq, 4, texture_scale=0.0), whole) / unit
    assert by_small == pytest.approx(0.1114, abs=0.01), "see Figures in the card"
    assert without == pytest.approx(0.472, abs=0.03)


def test_the_documented_commands_upscale_with_them(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    photo = Image.fromarray(skimage.data.coffee()).resize((48, 32), Image.Resampling.BICUBIC)
    write_lossless(tree / "clip.mkv", np.stack([np.asarray(photo)] * 2))
    pages = (ROOT / "docs" / "models.md").read_text(), CARD
    commands = [_commands(page) for page in pages]
    assert all(len(found) == 2 for found in commands)
    assert sum("--guidance-decoder" in words for found in commands for words in found) == 2
    made = []
    for number, words in enumerate(dict.fromkeys(map(tuple, (words for found in commands for words in found)))):
        out = f"out_{number}.mkv"
        assert words[0] == "starvsr"
        replaced = ["clip.mkv" if word == "clip.mp4" else word for word in words[1:]]
        assert main([*replaced, "--steps", "2", "-o", out, "-q"]) == 0, capsys.readouterr().err
        comment = next(value for key, value in starvsr.probe(out).metadata.items() if key.lower() == "comment")
        assert ("guidance_decoder" in json.loads(comment)["options"]) == ("--guidance-decoder" in words)
        made.append(read_clip(out))
    assert all(frames.shape == (2, 128, 192, 3) and frames.std() > 20 for frames in made)
    assert any((frames != made[0]).any() for frames in made[1:])


def _commands(page: str) -> list[list[str]]:
    text = page.replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("starvsr upscale") and str(PLACE) in line]
    return [shlex.split(line, comments=True) for line in lines]
