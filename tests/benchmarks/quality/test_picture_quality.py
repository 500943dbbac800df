"""The picture benchmark: inputs are what their names say, shares are against bicubic, scores are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.quality import picture_quality
from benchmarks.quality.methods import Causal, bicubic
from benchmarks.quality.picture_quality import damaged, main, measure, summary
from starvsr.errors import DataError, OptionError
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.vgg16 import Vgg16
from starvsr.models.weights import save_weights
from starvsr.video.codec_pass import write_lossless


@pytest.fixture(autouse=True)
def tiny_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Vgg16(((4, 4), (4, 4))).requires_grad_(False)
    monkeypatch.setattr("starvsr.metrics.vgg_distance.load_vgg16", lambda: network)
    monkeypatch.setattr("starvsr.metrics.vgg_distance.shipped", lambda device="cpu": network)


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """Letters of noise that move, uint8 [3, 160, 192, 3]."""
    big = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    picture = np.asarray(Image.fromarray(big).resize((210, 180), Image.Resampling.NEAREST))
    return np.stack([picture[4 * t : 4 * t + 160, 2 * t : 2 * t + 192] for t in range(3)])


def test_inputs_are_a_quarter_as_large_and_worse_by_name(sharp: np.ndarray) -> None:
    made = {name: damaged(sharp, name, "a", 0) for name in ("clean", "light", "heavy", "crf23", "crf38")}
    assert all(lq.shape == (3, 40, 48, 3) for lq in made.values())
    assert np.array_equal(made["heavy"], damaged(sharp, "heavy", "a", 0))
    assert not np.array_equal(made["heavy"], damaged(sharp, "heavy", "b", 0))
    reference = np.asarray(Image.fromarray(sharp[1]).resize((48, 40), Image.Resampling.BICUBIC), int)
    assert np.abs(made["clean"][1].astype(int) - reference).mean() < 1
    errors = [np.abs(made[name].astype(int) - made["clean"]).mean() for name in ("crf23", "crf38")]
    assert errors[0] < errors[1]
    for name in ("crf", "bad"):
        with pytest.raises(OptionError, match="unknown damage"):
            damaged(sharp, name, "a", 0)


def test_the_truth_measures_as_such(sharp: np.ndarray) -> None:
    values = measure(sharp, sharp)
    assert values["vgg"] == 0 and values["detail"] == 1 and values["placed"] == pytest.approx(1)
    plain = measure(sharp, bicubic(damaged(sharp, "clean", "a", 0)))
    assert plain["vgg"] > 0 and plain["detail"] < 0.8 and plain["psnr_y"] < 40


def test_the_table_is_over_clips_that_all_methods_have() -> None:
    def scored(vgg: float, psnr: float) -> dict[str, float]:
        return {"vgg": vgg, "psnr_y": psnr, "detail": 0.5, "placed": 0.6, "weave": 1.1}

    scores = {
        "light": {
            "a": {"bicubic": scored(1, 30), "ours": scored(0.5, 31)},
            "b": {"bicubic": scored(3, 20), "ours": scored(2.5, 22)},
            "c": {"bicubic": scored(9, 9)},
        }
    }
    table = summary(scores, ["bicubic", "ours"])
    assert "| light | bicubic | 2 | 1.000 | +0.00 |" in table
    assert "| light | ours | 2 | 0.750 | +1.50 | 0.50 | 0.60 | 1.10 |" in table


def test_runs_adds_a_method_later_and_refuses_another_setting(
    sharp: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hq").mkdir()
    write_lossless(tmp_path / "hq" / "one.mkv", sharp, 25)
    torch.manual_seed(0)
    sizes = {"width": 8, "num_blocks": 2, "memory": 1, "up_width": 4, "thin_width": 4}
    network = CausalSR(CausalSRConfig(**sizes))  # type: ignore[arg-type]
    weights = tmp_path / "w.safetensors"
    save_weights(network.state_dict(), weights, dtype=torch.float32, metadata={"network": json.dumps(sizes)})
    words = ["--hq", str(tmp_path / "hq"), "--out", str(tmp_path / "out"), "--damages", "clean", "--frames", "3"]
    words += ["--measured", "1", "2", "--size", "192", "160", "--threads", "1", "--methods", "bicubic"]
    main(words)
    first = json.loads((tmp_path / "out" / "scores.json").read_text())
    calls: list[int] = []
    monkeypatch.setattr(picture_quality, "measure", lambda gt, hq: calls.append(len(gt)) or measure(gt, hq))
    with monkeypatch.context() as patch:
        patch.setattr(picture_quality, "bicubic", lambda lq: pytest.fail("ran again"))
        main([*words, "causal-sr", "--weights", str(weights)])
        with pytest.raises(pytest.fail.Exception, match="ran again"):
            main([*words, "--again", "bicubic"])
        (tmp_path / "out" / "crops" / "clean" / "one" / "bicubic.png").unlink()
        with pytest.raises(pytest.fail.Exception, match="ran again"):
            main(words)  # for its crop
    assert calls == [2]  # bicubic is kept
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]["clean"]["one"]
    assert found["bicubic"] == first["scores"]["clean"]["one"]["bicubic"] and "causal-sr" in found
    assert "| clean | causal-sr | 1 |" in capsys.readouterr().out
    main([*words, "causal-sr", "--weights", str(weights)])
    assert calls == [2]
    other = {name: value + 0.01 for name, value in network.state_dict().items()}
    save_weights(other, weights, dtype=torch.float32, metadata={"network": json.dumps(sizes)})
    main([*words, "causal-sr", "--weights", str(weights)])
    assert calls == [2, 2]  # other weights under the same name
    assert "causal-sr: its weights are not those" in capsys.readouterr().err
    main([*words, "bicubic-sharpened"])
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]["clean"]["one"]
    assert found["bicubic-sharpened"]["detail"] > 1.1 * found["bicubic"]["detail"]
    main([*words, "bicubic+bicubic", "bicubic+star-small"])
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]["clean"]["one"]
    assert found["bicubic+bicubic"] == found["bicubic"]
    assert found["bicubic+star-small"]["psnr_y"] != pytest.approx(found["bicubic"]["psnr_y"], abs=0.02)
    main([*words, "star-small", "star-small@0", "star-small@1"])
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]["clean"]["one"]
    psnr = {name: values["psnr_y"] for name, values in found.items()}
    assert psnr["star-small@0"] == pytest.approx(psnr["bicubic"], abs=0.02)
    assert psnr["star-small@1"] == pytest.approx(psnr["star-small"], abs=0.02) != psnr["bicubic"]
    with Image.open(tmp_path / "out" / "crops_clean.png") as sheet:
        assert sheet.width > 4 * 100
    with pytest.raises(OptionError, match="another setting"):
        main([*words, "--seed", "3"])
    with pytest.raises(OptionError, match="beyond --frames"):
        main([*words, "--measured", "3"])
    with pytest.raises(OptionError, match="needs --weights"):
        main([*words[:-1], "causal-sr"])
    with pytest.raises(OptionError, match="unknown method"):
        main([*words[:-1], "other"])
    with pytest.raises(OptionError, match="unknown method 'other'"):
        main([*words[:-1], "bicubic+other"])
    with pytest.raises(OptionError, match="two as A\\+B"):
        main([*words[:-1], "bicubic+bicubic+bicubic"])
    with pytest.raises(OptionError, match="from 0 to 1"):
        main([*words[:-1], "star-small@2"])
    with pytest.raises(DataError, match="no sharp clips"):
        main([*words, "--clips", "zebra"])


def test_causal_weights_enlarge_as_a_stream(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = CausalSR(CausalSRConfig(width=8, num_blocks=2, memory=2, up_width=4, thin_width=4))
    sizes = {"width": 8, "num_blocks": 2, "memory": 2, "up_width": 4, "thin_width": 4}
    save_weights(
        network.state_dict(), tmp_path / "w.safetensors", dtype=torch.float32, metadata={"network": json.dumps(sizes)}
    )
    lq = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3), np.uint8)
    hq = Causal(tmp_path / "w.safetensors")(lq)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(lq).permute(3, 0, 1, 2)[None].float() / 127.5 - 1)[0]
    wanted = ((wanted.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 3, 0).numpy()
    assert hq.shape == (4, 48, 40, 3) and hq.dtype == np.uint8
    assert np.abs(hq - wanted).max() <= 0.51
