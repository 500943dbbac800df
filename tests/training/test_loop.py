"""The training loop on a tiny network: learns, saves, goes on where it stopped, exports what loads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from starvsr.data.pool import Batch
from starvsr.errors import DataError, WeightsError
from starvsr.families import registry
from starvsr.models.star.small.model import StarSmall
from starvsr.models.weight_ends import between_ends
from starvsr.models.weights import liem_names, load_weights, read_tensors, save_weights
from starvsr.training.config import DataConfig, RunConfig, StageConfig, TrainConfig
from starvsr.training.loop import Trainer
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.objective import StepOutput
from starvsr.training.optimizer import learning_rate
from starvsr.training.recipe import make_stage
from starvsr.training.run import export
from tests.support.bfloat16 import needs_bfloat16
from tests.training.tiny import TINY, write_photo


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return write_photo(tmp_path / "photos")


def _config(photos: Path, *stages: StageConfig, **run: Any) -> TrainConfig:
    data = DataConfig(
        photos=str(photos), cache=str(photos.parent / "cache"), degradation="light", num_frames=2, lq_crop=12,
        clip_frames=2, gt_size=64, pool_size=2, crops_per_clip=4, batch=2, workers=0,
    )  # fmt: skip
    return TrainConfig(stage=stages, model="tiny", data=data, run=RunConfig(log_every=1, **run))


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_run_resumes_and_exports(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    velocity = StageConfig(objective="velocity", steps=2, warmup=1)
    one_step = make_stage("one-step", 2, warmup=1, zero_head=True, losses={"structure": 0.1})
    Trainer(_config(photos, velocity), folder).run()
    Trainer(_config(photos, velocity, one_step), folder).run()
    steps = [line["step"] for line in _log(folder) if "lr" in line]
    assert steps == [1, 2, 3, 4]
    path = export(folder, tmp_path / "tiny.safetensors")
    network = StarSmall(TINY.network, TINY.context_tokens)
    load_weights(network, path)
    newest = torch.load(folder / "step-00000004.pt", weights_only=True)
    key = "unet.middle_block.0.in_layers.2.weight"
    assert torch.equal(network.state_dict()[key], newest["average"][key].half().float())


def test_weights_between_the_start_and_the_run(photos: Path, tmp_path: Path) -> None:
    Trainer(_config(photos, make_stage("one-step", 2, warmup=1)), tmp_path / "run").run()
    own = read_tensors(export(tmp_path / "run", tmp_path / "own.safetensors"))
    start = {name: torch.randn_like(value.float()) for name, value in own.items() if "refinement" not in name}
    save_weights(start, tmp_path / "start.safetensors", dtype=torch.float32, metadata={})
    path = export(tmp_path / "run", tmp_path / "mid.safetensors", begun_with=tmp_path / "start.safetensors", share=0.25)
    for name, value in read_tensors(path).items():
        wanted = 0.75 * start[name] + 0.25 * own[name].float() if name in start else own[name].float()
        assert torch.allclose(value.float(), wanted, rtol=2e-3, atol=2e-3), name
    assert "0.25 of the way from start.safetensors to the run's own" in path.with_suffix(".md").read_text()
    save_weights({"other.weight": torch.zeros(2)}, tmp_path / "start.safetensors", dtype=torch.float32, metadata={})
    with pytest.raises(DataError, match="no beginning of this run"):
        export(tmp_path / "run", tmp_path / "x.safetensors", begun_with=tmp_path / "start.safetensors", share=0.25)


def test_a_run_and_what_it_began_with_become_one_file_with_two_ends(photos: Path, tmp_path: Path) -> None:
    run, vivid = tmp_path / "run", tmp_path / "vivid.safetensors"
    Trainer(_config(photos, make_stage("one-step", 2, warmup=1)), run).run()
    own = read_tensors(export(run, tmp_path / "own.safetensors"))
    before = {name: torch.randn_like(value.float()) for name, value in own.items()}
    save_weights(before, vivid, dtype=torch.float32, metadata={})
    path = export(run, tmp_path / "both.safetensors", vivid=vivid)
    for name, value in between_ends(read_tensors(path), 0.25).items():
        wanted = 0.75 * own[name].float() + 0.25 * before[name]
        assert torch.allclose(value, wanted, rtol=2e-3, atol=2e-3), name
    swapped = read_tensors(export(run, tmp_path / "swapped.safetensors", faithful=vivid))
    assert torch.allclose(between_ends(swapped, 0.0)["unet.out.2.bias"], before["unet.out.2.bias"], atol=2e-3)
    small = export(run, tmp_path / "small.safetensors", vivid=vivid, int8=True)
    assert small.stat().st_size < 0.8 * path.stat().st_size  # names take a good part of a file so small
    card = small.with_suffix(".md").read_text()
    assert "values in 8 bits" in card and "goes: faithful: step 2; vivid: vivid.safetensors." in card
    whole = read_tensors(path)
    for name, value in read_tensors(small).items():
        assert (value - whole[name].float()).abs().max() <= whole[name].float().abs().max() / 200, name
    again = read_tensors(export(run, tmp_path / "again.safetensors", vivid=path))  # of two ends, the one that is meant
    assert torch.allclose(between_ends(again, 1.0)["unet.out.2.bias"], before["unet.out.2.bias"], atol=2e-3)
    network = StarSmall(TINY.network, TINY.context_tokens)  # what training begins with is the vivid end
    load_weights(network, path)
    assert torch.allclose(network.state_dict()["unet.out.2.bias"], before["unet.out.2.bias"], atol=2e-3)


def test_df_loss_changes_training(photos: Path, tmp_path: Path) -> None:
    results = []
    for weight in (0.0, 1.0):
        stage = make_stage("velocity", 2, warmup=1, losses={"frequency": weight})
        trainer = Trainer(_config(photos, stage), tmp_path / f"df{weight}")
        torch.nn.init.normal_(trainer.model.network.unet.out[-1].weight, std=0.1)
        trainer.run()
        results.append(trainer.model.network.unet.out[-1].weight.detach().clone())
    assert not torch.allclose(results[0], results[1], atol=1e-6)


def test_zero_head_starts_from_the_enlarged_input(photos: Path, tmp_path: Path) -> None:
    stage = StageConfig(objective="one-step", steps=1, warmup=10**6, zero_head=True, lr=0.0)
    trainer = Trainer(_config(photos, stage), tmp_path / "run")
    torch.nn.init.normal_(trainer.model.network.unet.out[-1].weight, std=0.5)
    trainer.run()
    lq = torch.rand(1, 3, 2, 8, 8)
    hint = trainer.model.encode_lq(lq)
    assert torch.allclose(trainer.model.upscale(lq), trainer.model.codec.decode(hint), atol=1e-5)


def test_a_run_starts_from_one_without_liem(photos: Path, tmp_path: Path) -> None:
    stage = StageConfig(objective="one-step", steps=1, warmup=1)
    plain = dataclasses.replace(_config(photos, stage), network={"liem_space": False, "liem_time": False})
    Trainer(plain, tmp_path / "plain").run()
    weights = export(tmp_path / "plain", tmp_path / "tiny.safetensors")
    begun = Trainer(_config(photos, stage), tmp_path / "with", start_from=weights).network.state_dict()
    given = load_file(weights)
    assert set(begun) - set(given) == set(liem_names(begun)) != set()
    assert all(torch.equal(begun[name], value.float()) for name, value in given.items())
    with pytest.raises(WeightsError, match="unexpected"):
        save_file({**given, "more": torch.zeros(1)}, tmp_path / "more.safetensors")
        Trainer(_config(photos, stage), tmp_path / "other", start_from=tmp_path / "more.safetensors")


def test_no_data_is_an_error(tmp_path: Path, photos: Path) -> None:
    config = _config(photos, StageConfig(objective="velocity", steps=1))
    empty = dataclasses.replace(config, data=dataclasses.replace(config.data, photos=str(tmp_path / "none")))
    with pytest.raises(DataError):
        Trainer(empty, tmp_path / "run").run()


def test_learning_rate_rises_then_falls_to_zero() -> None:
    stage = StageConfig(objective="velocity", steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(stage, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


@needs_bfloat16
def test_bfloat16_training_has_the_gradients_of_float32(photos: Path, tmp_path: Path) -> None:
    """Codec and losses must not be cast: differences of squares in bfloat16 once reversed most gradients."""
    stage = make_stage("one-step", 1, losses={"structure": 0.1, "temporal": 0.5})
    torch.manual_seed(0)
    gt = torch.nn.functional.interpolate(torch.rand(6, 3, 24, 24), 96, mode="bicubic").unflatten(0, (2, 3))
    gt = gt.transpose(1, 2) * 2 - 1
    lq = torch.nn.functional.avg_pool3d(gt, (1, 4, 4))
    batch = Batch(lq=lq, gt=gt, caption=["", ""], name=["a", "b"])
    gradients = []
    for precision in ("fp32", "bf16"):
        trainer = Trainer(_config(photos, stage, precision=precision), tmp_path / precision)
        torch.manual_seed(1)
        for parameter in trainer.model.network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        output = OBJECTIVES["one-step"].compute(trainer.model, batch, stage.tables, {}, trainer.rng)
        torch.stack(list(output.losses.values())).sum().backward()
        gradients.append(trainer.model.network.unet.out[-1].weight.grad.flatten().clone())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_constant_learning_rate_stays_after_the_warm_up() -> None:
    stage = StageConfig(objective="one-step", steps=100, warmup=10, lr=1.0, schedule="constant")
    assert [learning_rate(stage, step) for step in (0, 10, 99)] == pytest.approx([0.1, 1.0, 1.0])


def test_stages_choose_the_size_of_their_samples(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def record(model: Any, batch: Any, *others: Any) -> StepOutput:
        shapes.append((tuple(batch["lq"].shape), tuple(batch["gt"].shape)))
        return StepOutput({"loss": model.upscale(batch["lq"]).mean()})

    monkeypatch.setitem(OBJECTIVES, "one-step", dataclasses.replace(OBJECTIVES["one-step"], compute=record))
    stages = [StageConfig(objective="one-step", steps=1), StageConfig("one-step", 1, num_frames=1, lq_crop=8)]
    Trainer(_config(photos, *stages), tmp_path / "run").run()
    assert shapes == [((2, 3, 2, 12, 12), (2, 3, 2, 48, 48)), ((2, 3, 1, 8, 8), (2, 3, 1, 32, 32))]
