"""The ablation of StableVSR: the three ways of sampling, and the table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import stablevsr_ablation as ablation
from starvsr.video.codec_pass import write_lossless
from tests.support.stablevsr_folder import write_folder
from tests.support.stablevsr_guidance_decoder import write_decoder

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("cv2")


def test_rows_guide_frames_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = ablation.Sampler(write_folder(tmp_path / "model"), 2)
    lq = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    asked: list[tuple[int, int]] = []
    flows = ablation._flows

    def watched(frames):  # type: ignore[no-untyped-def]
        inner = flows(frames)
        return lambda target, source: asked.append((target, source)) or inner(target, source)

    monkeypatch.setattr(ablation, "_flows", watched)
    made = {}
    for name, chosen in ablation.ROWS.items():
        asked.clear()
        made[name] = sampler(lq, 0, **chosen)
        wanted = {
            "without TCM": [],
            "TCM, one direction": [(1, 0), (2, 1), (1, 0), (2, 1)],
            "TCM, both directions": [(1, 0), (2, 1), (1, 2), (0, 1)],
        }[name]
        assert asked == wanted
    first, one, both = made.values()
    assert first.shape == (3, 64, 64, 3) and first.dtype == np.uint8
    assert (one[0] == first[0]).all() and not (both[0] == first[0]).all()  # its first frame is never guided


def test_the_small_decoder_decodes_neighbours_and_no_final_frame(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    sampler = ablation.Sampler(folder, 1, write_decoder(tmp_path / "decoder", folder))
    lq = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
    small, both = (sampler(lq, 0, **row) for row in (ablation.SMALL_ROW[ablation.SMALL], [*ablation.ROWS.values()][-1]))
    assert (small[0] == both[0]).all() and not (small[1] == both[1]).all()  # in one step the first has no neighbour


def test_intervals_and_table() -> None:
    middle, low, high = ablation.interval([1.0, 2.0, 3.0, 4.0])
    assert middle == 2.5 and 1 <= low < 1.9 and 3.1 < high <= 4
    assert ablation.interval([2.0, 2.0]) == (2, 2, 2)
    values = {name: {m: [float(i), float(i)] for m in ablation.METRICS} for i, name in enumerate(ablation.ROWS)}
    shown = ablation.table(values)
    assert "| TCM, both directions, minus without TCM | +2.00 (+2.00 to +2.00) |" in shown
    assert "| both directions minus one | +1.00 (+1.00 to +1.00) |" in shown and "small decoder" not in shown
    values[ablation.SMALL] = {m: [5.0, 5.0] for m in ablation.METRICS}
    assert "| small decoder minus the model's own | +3.00 (+3.00 to +3.00) |" in ablation.table(values)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hq").mkdir()
    wide = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    write_lossless(tmp_path / "hq" / "a.mkv", np.stack([wide[:, t : t + 220] for t in range(14)]))
    model = write_folder(tmp_path / "model")
    words = ["--weights", str(model), "--hq", str(tmp_path / "hq"), "--steps", "1"]
    words += ["--guidance-decoder", str(write_decoder(tmp_path / "decoder", model))]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--frames", "3", "--side", "64", "--windows", "2"])
    ablation.main()
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith("a 0 ") and said.splitlines()[1].startswith("a 1 ")
    assert "| both directions, small decoder | " in said and "PSNR-Y of results with the small decoder" in said
    assert "| without TCM | " in said and "| ground truth | inf (inf to inf) |" in said
