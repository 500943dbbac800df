"""CausalSR is trained by the same command: stages of regression, resumed bit for bit, exported with its sizes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors import safe_open

from starvsr.data.clips import Clip
from starvsr.data.pool import Batch
from starvsr.errors import DataError, MissingWeightsError, OptionError, WeightsError
from starvsr.families.causal_sr.pipeline import chosen_tensors
from starvsr.families.causal_sr.spec import CAUSAL_SR, CausalSRSpec
from starvsr.imaging.sharpening import sharpen_frame
from starvsr.models.causal_sr import CausalSR
from starvsr.models.vgg16 import Vgg16
from starvsr.models.weight_ends import between_ends
from starvsr.models.weights import load_weights, read_tensors
from starvsr.training.config import DataConfig, RunConfig, StageConfig, TrainConfig
from starvsr.training.example_network import ExampleNetwork
from starvsr.training.examples import Examples
from starvsr.training.families import build_model
from starvsr.training.loop import Trainer
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.onnx_file import export_onnx
from starvsr.training.recipe import make_stage, with_changes
from starvsr.training.run import export, weights_name
from tests.support.spandrel_stand_in import Spandrel
from tests.training.tiny import write_photo

SIZES = {"width": 8, "num_blocks": 2, "memory": 1, "up_width": 4, "thin_width": 4}


def recipe(folder: Path, *stages: StageConfig) -> TrainConfig:
    data = DataConfig(
        photos=str(write_photo(folder / "photos")), cache=str(folder / "cache"), workers=0, batch=2,
        degradation="light", num_frames=3, lq_crop=16, clip_frames=3, gt_size=64, pool_size=2,
    )  # fmt: skip
    run = RunConfig(log_every=1, save_every=2, ema=0.5)
    return TrainConfig(stage=stages, model="causal-sr", network=SIZES, data=data, run=run)


STAGE = make_stage(
    "regression", 6, lr=3e-3, warmup=1,
    losses={"frequency": 0.1, "structure": 0.1, "temporal": 0.1}, frequency={"separation": "none"},
)  # fmt: skip


def test_the_objective_sharpens_an_edge() -> None:
    config = TrainConfig(stage=(STAGE,), model="causal-sr", network=SIZES, seed=2)
    model = build_model(config)
    gt = torch.full((1, 3, 2, 48, 48), -0.5)
    gt[..., 23:] = 0.5
    batch = Batch(lq=torch.nn.functional.avg_pool3d(gt, (1, 4, 4)), gt=gt, caption=[""], name=["edge"])
    optimizer = torch.optim.Adam(model.network.parameters(), lr=3e-3)
    course = []
    for _ in range(25):
        losses = OBJECTIVES["regression"].compute(model, batch, STAGE.tables, {}, torch.Generator()).losses
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert losses.keys() == {"pixel", "df", "structure", "temporal"}
    assert course[-1] < 0.7 * course[0]


def test_a_run_exports_what_loads(tmp_path: Path) -> None:
    trainer = Trainer(recipe(tmp_path, dataclasses.replace(STAGE, steps=2)), tmp_path / "run")
    trainer.run()
    file = export(tmp_path / "run", tmp_path / weights_name("causal-sr"))
    assert file.name == "causal-sr.safetensors" and "Apache-2.0" in file.with_suffix(".md").read_text()
    with safe_open(file, "pt") as tensors:
        sizes = json.loads(tensors.metadata()["network"])
    assert sizes == SIZES
    network = CausalSR(with_changes(CAUSAL_SR.network, sizes))
    load_weights(network, file)
    both = export(tmp_path / "run", tmp_path / "both.safetensors", raw=True, faithful=file)
    ends = read_tensors(both)
    assert torch.equal(between_ends(ends, 0.0)["last.weight"], read_tensors(file)["last.weight"].float())
    assert torch.equal(between_ends(ends, 1.0)["last.weight"], trainer.network.last.weight.half().float())
    average = trainer.average.tensors["last.weight"]
    assert torch.allclose(network.last.weight, average.half().float()) and average.abs().sum() > 0


def test_a_run_becomes_an_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed to the writer, which has a test of its own."""
    Trainer(recipe(tmp_path, dataclasses.replace(STAGE, steps=2)), tmp_path / "run").run()
    file = export(tmp_path / "run", tmp_path / "ends.safetensors", raw=True)
    made: list[dict[str, torch.Tensor]] = []

    def write(spec: CausalSRSpec, weights: Path, path: Path, *, detail: float | None) -> None:
        assert spec is CAUSAL_SR and path == tmp_path / "run" / "weights.onnx"
        made.append(chosen_tensors(weights, detail, 0.5))

    monkeypatch.setattr("starvsr.families.causal_sr.onnx_export.write_onnx", write)
    assert export_onnx(tmp_path / "run") == tmp_path / "run" / "weights.onnx"
    export_onnx(tmp_path / "run", faithful=file, detail=0.0)
    average, raw = made
    assert torch.equal(raw["last.weight"].half(), read_tensors(file)["last.weight"])
    exported = read_tensors(export(tmp_path / "run", tmp_path / "average.safetensors"))
    assert torch.equal(average["last.weight"], exported["last.weight"])
    assert not torch.equal(average["last.weight"], raw["last.weight"])


def test_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    Trainer(recipe(tmp_path, STAGE), tmp_path / "whole").run()
    first = Trainer(recipe(tmp_path, STAGE), tmp_path / "parts")
    save = first.save

    def stop_at_four() -> Path | None:
        path = save()
        if first.step == 4:
            raise KeyboardInterrupt
        return path

    first.save = stop_at_four  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Trainer(recipe(tmp_path, STAGE), tmp_path / "parts")
    assert second.step == 4
    second.run()
    whole, parts = (torch.load(tmp_path / name / "step-00000006.pt") for name in ("whole", "parts"))
    for name, value in whole["network"].items():
        assert torch.equal(value, parts["network"][name]), name


def test_a_wider_run_begins_with_narrow_weights(tmp_path: Path) -> None:
    short = dataclasses.replace(STAGE, steps=2)
    Trainer(recipe(tmp_path, short), tmp_path / "narrow").run()
    file = export(tmp_path / "narrow")
    narrow = CausalSR(with_changes(CAUSAL_SR.network, SIZES))
    load_weights(narrow, file)
    wider = {**SIZES, "width": 12, "num_blocks": 3}
    config = dataclasses.replace(recipe(tmp_path, short), network=wider)
    trainer = Trainer(config, tmp_path / "wide", start_from=file)
    clip = torch.rand(1, 3, 3, 12, 14, generator=torch.Generator().manual_seed(1)) * 2 - 1
    wanted = narrow(clip)
    assert (trainer.network(clip) - wanted).abs().max() < 1e-5
    trainer.run()
    assert (trainer.network(clip) - wanted).abs().max() > 1e-4
    begun = json.loads((tmp_path / "wide" / "log.jsonl").read_text().splitlines()[0])
    assert begun["widened"] == {"width": [8, 12], "num_blocks": [2, 3]}
    load_weights(CausalSR(with_changes(CAUSAL_SR.network, wider)), export(tmp_path / "wide"))

    again = Trainer(recipe(tmp_path, short), tmp_path / "again", start_from=file)  # of the same size: as they are
    again.run()
    assert "widened" not in (tmp_path / "again" / "log.jsonl").read_text()
    with pytest.raises(WeightsError, match="width 8 to 4"):
        Trainer(dataclasses.replace(config, network={**SIZES, "width": 4}), tmp_path / "other", start_from=file)


def test_autocast_changes_little_and_results_are_float32(tmp_path: Path) -> None:
    config = recipe(tmp_path, STAGE)
    exact = build_model(config)
    mixed = build_model(dataclasses.replace(config, run=RunConfig(precision="bf16")))
    lq = torch.rand(1, 3, 2, 12, 12) * 2 - 1
    one, other = exact.upscale(lq), mixed.upscale(lq)
    assert other.dtype == torch.float32 and one.shape == (1, 3, 2, 48, 48)
    assert 0 < (one - other).abs().max() < 0.02


class Squares(torch.nn.Module):
    """Enlarges by repeating pixels."""

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return lq.repeat_interleave(4, -1).repeat_interleave(4, -2)


class Trunk(torch.nn.Module):
    """Whose only features are the pixels; keeps what it saw, in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(frames.detach() / 127.5 - 1)
        return [frames]


def test_examples_are_mixes_and_the_nearest_to_the_truth_is_taken() -> None:
    model = build_model(TrainConfig(stage=(STAGE,), model="causal-sr", network=SIZES))
    lq = torch.randint(60, 200, (3, 8, 8, 3), dtype=torch.uint8)
    large = Squares()(lq[1].permute(2, 0, 1)).permute(1, 2, 0)
    clip = Clip(lq=lq, gt=torch.stack([large.flip(0), large, large.flip(1)]), caption="", name="a")
    made = {}
    for shares in ((0.0,), (0.25,), (1.0,), (0.0, 0.25, 1.0), (0.25, 0.0)):
        add = Examples(model, model.network, Squares(), cast(Vgg16, Trunk()), shares)
        shown = add(clip)
        assert shown["example_frame"] == 1 and shown["example"].dtype == torch.uint8 and "example" not in clip
        made[shares] = shown["example"].int()
    with torch.no_grad():
        ours = model.upscale(lq.permute(3, 0, 1, 2)[None] / 127.5 - 1)[0, :, 1].permute(1, 2, 0)
    assert (made[0.0,] - (ours + 1) * 127.5).abs().max() < 1  # the teacher's result alone
    assert torch.equal(made[1.0,], large.int())  # the example's alone
    assert (made[0.25,] - torch.lerp(made[0.0,].float(), made[1.0,].float(), 0.25)).abs().max() <= 1
    assert torch.equal(made[0.0, 0.25, 1.0], large.int())  # which is the truth here
    assert torch.equal(made[0.25, 0.0], made[0.25,])


def test_the_teacher_is_sharpened_in_what_is_imitated() -> None:
    model = build_model(TrainConfig(stage=(STAGE,), model="causal-sr", network=SIZES))
    grain = np.random.default_rng(0).normal(120, 8, (32, 32, 1)).repeat(3, 2).clip(0, 255).astype(np.uint8)
    drawn = torch.from_numpy(grain).permute(2, 0, 1)[None, :, None] / 127.5 - 1
    model.upscale = lambda lq, network=None: drawn.expand(1, 3, 3, 32, 32)  # type: ignore[method-assign]
    lq = torch.full((3, 8, 8, 3), 120, dtype=torch.uint8)
    clip = Clip(lq=lq, gt=torch.zeros(3, 32, 32, 3, dtype=torch.uint8), caption="", name="a")
    parts = (model, model.network, Squares(), cast(Vgg16, Trunk()))
    plain, sharp = (Examples(*parts, shares=(0.0,), sharpen=strength)(clip)["example"] for strength in (0.0, 1.0))
    assert torch.equal(plain, torch.from_numpy(grain))
    expected = sharpen_frame(grain.astype(np.uint16) * 257, 1.0, 4).astype(np.float64) / 257
    assert np.abs(sharp.numpy() - expected).max() < 0.51
    assert sharp.float().std() > plain.float().std()
    half = Examples(*parts, shares=(0.5,), sharpen=1.0)(clip)["example"]  # the example's result is not sharpened
    assert (half - (sharp.float() + 120) / 2).abs().max() <= 1


def test_what_is_imitated_is_one_frame_of_each_sample() -> None:
    def compute(losses: dict[str, float], batch: Batch, trunk: Trunk) -> dict[str, torch.Tensor]:
        stage = make_stage(
            "regression", 1, losses={"pixel": 0.0, "frequency": 0.0, **losses}, frequency={"separation": "none"},
            regression={"excerpt_side": 24},
        )  # fmt: skip
        auxiliary = {"features": trunk}
        return OBJECTIVES["regression"].compute(model, batch, stage.tables, auxiliary, torch.Generator()).losses

    model = build_model(TrainConfig(stage=(STAGE,), model="causal-sr", network=SIZES))
    lq = torch.rand(2, 3, 3, 8, 8) - 0.5
    batch = Batch(lq=lq, gt=torch.rand(2, 3, 3, 32, 32) - 0.5, caption=["", ""], name=["a", "b"])
    with torch.no_grad():
        hq = model.upscale(lq)
    batch["example_frame"], batch["example"] = [2, 0], torch.stack([hq[0][:, 2:], hq[1][:, :1]])
    weights, trunk = {"imitation": 1.0, "imitation_pixel": 1.0, "perceptual": 1.0}, Trunk()
    same = compute(weights, batch, trunk)
    assert same["imitation"] < 1e-6 and same["imitation_pixel"] < 2e-3 < same["perceptual"]
    corner = next(
        (top, left)
        for top in range(9) for left in range(9)
        if torch.allclose(trunk.seen[0][0], hq[0, :, 2, top : top + 24, left : left + 24], atol=1e-5)
    )  # fmt: skip
    rows, columns = (slice(place, place + 24) for place in corner)
    torch.testing.assert_close(trunk.seen[0][1], hq[1, :, 0, rows, columns])
    truth = torch.stack([batch["gt"][0, :, 2, rows, columns], batch["gt"][1, :, 0, rows, columns]])
    torch.testing.assert_close(trunk.seen[-1], truth)
    batch["example"] = batch["example"].flip(0)
    other = compute(weights, batch, Trunk())
    assert other["imitation"] > 1e-3 and other["imitation_pixel"] > 0.05
    assert set(compute({"imitation_pixel": 1.0}, batch, Trunk())) == {"imitation_pixel"}


@pytest.mark.parametrize("term", ["imitation", "imitation_pixel"])
@pytest.mark.parametrize(
    ("example", "what"),
    [
        ("", "losses.imitation needs regression.example: the file of the network to imitate"),
        ("net.onnx", "regression.example net.onnx: no network by its name; known are .param, .pth"),
        ("gone.pth", "gone.pth: there is no such file"),
    ],
)
def test_an_example_that_is_not_there_is_told_before_the_first_stage(
    term: str, example: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitating = make_stage("regression", 1, losses={term: 0.1}, regression={"example": example})
    trainer = Trainer(recipe(tmp_path, dataclasses.replace(STAGE, steps=1), imitating), tmp_path / "run")
    monkeypatch.setattr("starvsr.training.auxiliary_networks.check_vgg16", lambda: None)
    with pytest.raises((OptionError, MissingWeightsError), match=what):
        trainer.run()
    assert trainer.step == 0


def test_a_teacher_that_is_not_there_is_told_before_the_first_stage(tmp_path: Path) -> None:
    looks = make_stage("regression", 1, losses={"artefact": 0.1}, regression={"teacher": "gone.safetensors"})
    trainer = Trainer(recipe(tmp_path, dataclasses.replace(STAGE, steps=1), looks), tmp_path / "run")
    with pytest.raises(MissingWeightsError, match=r"teacher gone.safetensors: there is no such file"):
        trainer.run()
    assert trainer.step == 0


def test_an_example_must_enlarge_as_the_model_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", Spandrel)
    (tmp_path / "net.pth").write_text("2")
    with pytest.raises(WeightsError, match="enlarges 2 times; an example here must do so 4 times"):
        ExampleNetwork(str(tmp_path / "net.pth"), 4)
    lq = torch.rand(2, 3, 2, 5, 6) * 2 - 1
    made = ExampleNetwork(str(tmp_path / "net.pth"), 2)(lq)
    torch.testing.assert_close(made, lq.repeat_interleave(2, -1).repeat_interleave(2, -2))
    made.requires_grad_()  # no tensor of inference mode


def test_what_it_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="objective = \"regression\" alone, not 'velocity'"):
        build_model(recipe(tmp_path, StageConfig("velocity", 1)))
    with pytest.raises(DataError, match="--start-from"):
        build_model(dataclasses.replace(recipe(tmp_path, STAGE), init="venhancer"))
    with pytest.raises(DataError, match=r"unknown recipe key network\.heads"):
        with_changes(CAUSAL_SR.network, {"heads": 2})
    with pytest.raises(DataError, match=r"network\.width must be of type int"):
        with_changes(CAUSAL_SR.network, {"width": 1.5})


def test_a_last_layer_of_its_own_kind_is_not_there_to_be_set(tmp_path: Path) -> None:
    trainer = Trainer(recipe(tmp_path, dataclasses.replace(STAGE, zero_head=True)), tmp_path / "run")
    with pytest.raises(OptionError, match="causal-sr has no last layer of its own kind: leave out zero_head"):
        trainer.run()


@pytest.mark.parametrize("critic", ["two-head", "features"])
def test_a_stage_for_looks_goes_on_as_if_never_stopped(
    critic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny_trunk() -> Vgg16:
        torch.manual_seed(9)
        return Vgg16(((4, 64), (4, 128))).requires_grad_(False)

    monkeypatch.setattr("starvsr.training.auxiliary_networks.load_vgg16", tiny_trunk)
    monkeypatch.setattr("starvsr.training.auxiliary_networks.check_vgg16", lambda: None)
    monkeypatch.setitem(sys.modules, "spandrel", Spandrel)
    (tmp_path / "example.pth").write_text("4")
    looks = make_stage(
        "regression", 4, lr=3e-3, warmup=1, frequency={"separation": "none"}, adversarial={"critic": critic},
        losses={"frequency": 0.1, "structure": 0.1, "temporal": 0.1, "perceptual": 0.1, "adversarial": 0.05,
                "artefact": 0.1, "grid": 0.1, "pattern": 0.1, "imitation": 0.1,
                "imitation_pixel": 0.1},
        regression={"sharpen_target": 0.5, "sharpen_teacher": 0.5, "excerpt_side": 32,
                    "example": str(tmp_path / "example.pth")},
    )  # fmt: skip
    config = recipe(tmp_path, dataclasses.replace(STAGE, steps=1), looks)
    Trainer(config, tmp_path / "whole").run()
    lines = (tmp_path / "whole" / "log.jsonl").read_text()
    for name in ("grid", "pattern", "artefact", "perceptual", "imitation", "imitation_pixel", "adversarial", "critic"):
        assert f'"{name}"' in lines
    whole = torch.load(tmp_path / "whole" / "step-00000005.pt")
    assert whole["helpers"].keys() == {"stage", "teacher", "critic", "critic_optimizer"}  # no trunk, no example
    card = export(tmp_path / "whole", tmp_path / "looks.safetensors").with_suffix(".md").read_text()
    assert f"Imitated: example.pth (SHA-256 {hashlib.sha256(b'4').hexdigest()})." in card
    assert "if the data and what was imitated allow it" in card
    stopped = Trainer(config, tmp_path / "parts")
    save = stopped.save

    def stop_at_four() -> Path | None:
        path = save()
        if stopped.step == 4:
            raise KeyboardInterrupt
        return path

    stopped.save = stop_at_four  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    Trainer(config, tmp_path / "parts").run()
    parts = torch.load(tmp_path / "parts" / "step-00000005.pt")
    for kind in ("network", "average"):
        assert all(torch.equal(value, parts[kind][name]) for name, value in whole[kind].items())
    for name, value in whole["helpers"]["critic"].items():
        assert torch.equal(value, parts["helpers"]["critic"][name])
