"""Models are read from words; what is unknown or missing is refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from starvsr.errors import MissingWeightsError, OptionError
from starvsr.evaluation.benchmarks.lanczos import LanczosUpscaler
from starvsr.evaluation.benchmarks.methods import parse_methods


def test_words_name_models_filters_and_networks(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    (tmp_path / "net.param").touch()
    (tmp_path / "net.bin").touch()
    words = ["star-small", "mine=bicubic", "lanczos", "net", f"same={tmp_path / 'net.bin'}"]
    methods = parse_methods(words, files=tmp_path)
    assert [(m.label, m.model, m.file and m.file.path.name) for m in methods] == [
        ("star-small", "star-small", None),
        ("mine", "bicubic", None),
        ("lanczos", "lanczos", None),
        ("net", "ncnn", "net.param"),
        ("same", "ncnn", "net.param"),
    ]
    assert set(methods[3].record()["files"]) == {"net.param", "net.bin"}


def test_options_and_weights_belong_to_one_model(tmp_path: Path) -> None:
    methods = parse_methods(
        ["a=star-small", "b=star-small"],
        options=["b.steps=2", "a.seed=7"],
        weights=[f"b={tmp_path / 'w.safetensors'}"],
    )
    assert methods[0].upscale_options({"threads": 1}).seed == 7
    made = methods[1].upscale_options({})
    assert (made.steps, made.weights, made.model) == (2, str(tmp_path / "w.safetensors"), "star-small")


@pytest.mark.parametrize(
    ("words", "more", "what"),
    [
        ([], {}, "names no model"),
        (["star-smal"], {}, "unknown model 'star-smal': did you mean star-small.*NAME.param"),
        (["bicubic", "bicubic"], {}, "two models are called bicubic"),
        (["a/b=bicubic"], {}, "'a/b' cannot name a folder"),
        (["=bicubic"], {}, "write NAME, or LABEL=NAME"),
        (["bicubic"], {"options": ["star-small.steps=2"]}, "write LABEL.OPTION=VALUE with one of bicubic"),
        (["star-small"], {"options": ["star-small.stepz=2"]}, "stepz is no option of .*did you mean steps"),
        (["star-small"], {"options": ["star-small.codec=h264"]}, "codec is set by the benchmark"),
        (["star-small"], {"options": ["star-small.steps=0"]}, "--steps"),
        (["bicubic"], {"options": ["bicubic.steps=2"]}, "model bicubic has no use for it"),
        (["lanczos"], {"options": ["lanczos.steps=2"]}, "lanczos has no use for it"),
        (["bicubic"], {"weights": ["star-small=x"]}, "write LABEL=FILE with one of bicubic"),
        (["realesrgan-x4plus"], {}, "realesrgan-x4plus.param and .bin .*--model-files"),
        (["other"], {"files": Path("gone")}, "--model-files gone: there is no such folder"),
        (["x=gone.param"], {}, "gone.param: there is no such file"),
        (["x=gone.pth"], {}, "gone.pth: there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(words: list[str], more: dict, what: str) -> None:
    with pytest.raises((OptionError, MissingWeightsError), match=what):
        parse_methods(words, **more)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("net.param", "net.bin", "net.pth"):
        (tmp_path / file).touch()
    monkeypatch.setitem(__import__("sys").modules, "ncnn", None)
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    for suffix, package in (("param", "ncnn"), ("pth", "spandrel")):
        with pytest.raises(OptionError, match=rf"need {package}: pip install 'starvsr\[baselines\]'"):
            parse_methods([f"x={tmp_path / f'net.{suffix}'}"])


def test_lanczos_is_that_of_pillow() -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(96, 160, (10, 14, 3), np.uint8)
    lq = torch.from_numpy(frame).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    made = ((LanczosUpscaler(3).upscale_clip(lq)[0, :, 0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(frame).resize((42, 30), Image.Resampling.LANCZOS), float)
    assert np.abs(made - expected).max() <= 1  # Pillow rounds between its two passes on bytes
    assert np.abs(made - expected).mean() < 0.2
