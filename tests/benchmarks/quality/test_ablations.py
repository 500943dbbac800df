"""The ablation script at its smallest: rows are recipes, two of them train, tables and orders come out right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import ablations
from benchmarks.quality.ablations import Row, agreement, main, read_rows, spread
from starvsr.training.families import build_model
from starvsr.training.recipe import load_recipe
from starvsr.video.codec_pass import write_lossless


def test_every_row_is_a_recipe_of_its_own() -> None:
    rows = read_rows()
    assert {row.table for row in rows} == {0, 3, 4, 5, 7} and len(rows) == len({row.name for row in rows}) >= 22
    base = load_recipe(ablations.FOLDER / "base.toml")
    for row in rows:
        config = load_recipe(ablations.FOLDER / "base.toml", row.overrides)
        assert [stage.steps for stage in config.stage] == [stage.steps for stage in base.stage]
        assert config != base or row.name in ("alpha-2", "beta-1"), row.name
    assert [row.name for row in read_rows([7])][:4] == ["again-1", "again-2", "beta-0.25", "beta-0.75"]
    assert [row.name for row in rows if not row.is_measured] == ["exponential"]
    with pytest.raises(SystemExit, match="no such row: guess"):
        read_rows(names=["guess"])


def test_networks_of_the_liem_rows_differ() -> None:
    names = ("liem-none", "liem-space", "liem-time", "liem-both")
    counts = []
    for row in read_rows(names=names):
        config = load_recipe(ablations.FOLDER / "base.toml", [*row.overrides, "network.width=24", "network.head_dim=8"])
        counts.append(sum(".local" in name for name in build_model(config).network.state_dict()))
    assert counts[0] == 0 and counts[3] == counts[1] + counts[2] and counts[2] == 2 * counts[1] > 2


def test_agreement_counts_pairs_in_the_papers_order() -> None:
    rows = [Row(str(i), 3, "", (), (float(i), 0.0, 1.0)) for i in range(3)]
    scores = {"0": {"psnr_y_db": 1.0}, "1": {"psnr_y_db": 3.0}, "2": {"psnr_y_db": 2.0}}
    assert agreement(rows, scores).startswith("psnr_y_db: 2 of 3 pairs")


def test_spread_of_equal_recipes() -> None:
    rows = [Row("a", 3, "", ("x=1",)), Row("b", 0, "", ("x=1", "seed=3")), Row("c", 4, "", ("x=2",))]
    scores = {"a": {"psnr_y_db": 1.0}, "b": {"psnr_y_db": 1.5}, "c": {"psnr_y_db": 9.0}}
    assert spread(rows, scores, ["psnr_y_db"]) == "\nEqual recipes (a, b) differ by: psnr_y_db 0.5000\n"


def test_two_rows_run_and_are_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    noise = np.random.default_rng(0).integers(0, 255, (6, 12, 16, 3), np.uint8)
    (tmp_path / "sharp").mkdir()
    write_lossless(tmp_path / "sharp" / "a.mkv", noise.repeat(8, 1).repeat(8, 2))
    small = [
        "network.width=24", "network.head_dim=8", "network.context_dim=8", "data.batch=1", "data.workers=0",
        "data.num_frames=2", "data.clip_frames=2", "data.lq_crop=12", "data.gt_size=48", "data.pool_size=1",
        "run.precision=fp32", "data.degradation=light",
    ]  # fmt: skip
    words = [f"--override={word}" for word in small]
    words += ["--videos", str(tmp_path / "sharp"), "--hq", str(tmp_path / "sharp"), "--out", str(tmp_path / "out")]
    words += ["--rows", "df-none", "liem-both", "alpha-2", "beta-1", "--prior-steps", "1", "--steps", "1"]
    words += ["--frames", "2", "--size", "64x64"]
    words += ["--metrics", "psnr_y_db", "ssim_y", "--threads", "1"]
    page = tmp_path / "page.md"
    page.write_text("\n".join(["above", *ablations.MARKS, "below"]))
    try:
        main([*words, "--write", str(page)])
        first = json.loads((tmp_path / "out" / "ablations.json").read_text())["scores"]
        main(words)
        with pytest.raises(SystemExit, match="prior was trained by another recipe"):
            main([*words, "--prior-steps", "2"])
    finally:
        torch.set_num_threads(before)
    assert first["df-none"] == first["liem-both"]  # equal recipes, trained once
    assert first["alpha-2"] == first["beta-1"] != first["df-none"]
    assert {path.parent.name for path in (tmp_path / "out").glob("*/done")} == {"prior", "liem-both", "alpha-2"}
    assert all(np.isfinite(list(values.values())).all() for values in first.values())
    assert json.loads((tmp_path / "out" / "ablations.json").read_text())["scores"] == first
    text = capsys.readouterr().out
    assert "| beta 1 |" in page.read_text() and page.read_text().startswith("above")
    assert "| beta 1 |" in text and "| 23.91 | 0.1885 | 2.68 |" in text
    assert text.count('"event": "end"') == 3  # the prior and two rows, once each
