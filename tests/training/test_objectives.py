"""Objectives: what trains and what stays, and that every term reaches the weights it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from starvsr.data.pool import Batch
from starvsr.errors import DataError, OptionError
from starvsr.families import registry
from starvsr.models.vgg16 import Vgg16
from starvsr.training.config import DataConfig, RunConfig, StageConfig, TrainConfig
from starvsr.training.discriminator import PatchCritic, adversarial_loss, critic_loss
from starvsr.training.families import build_model
from starvsr.training.feature_critic import FeatureCritic
from starvsr.training.freezing import choose_trained
from starvsr.training.loop import Trainer
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.objective import StepOutput
from starvsr.training.recipe import make_stage
from tests.training.tiny import TINY, write_photo


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)


def tiny_data(folder: Path) -> DataConfig:
    photos = write_photo(folder / "photos")
    return DataConfig(
        photos=str(photos), cache=str(folder / "cache"), workers=0, batch=1, degradation="light",
        num_frames=2, lq_crop=12, clip_frames=2, gt_size=64, pool_size=1,
    )  # fmt: skip


def build(**network: Any) -> Any:
    made = build_model(TrainConfig(stage=(), model="tiny", network=network))
    generator = torch.Generator().manual_seed(0)
    for parameter in made.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return made


def batch(num_frames: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    gt = F.interpolate(torch.rand(2, 3, num_frames, 12, 12, generator=generator) * 2 - 1, (num_frames, 48, 48))
    return Batch(lq=F.avg_pool3d(gt, (1, 4, 4)), gt=gt, caption=["", ""], name=["a", "b"])


def output(made: Any, stage: StageConfig, **auxiliary: torch.nn.Module) -> StepOutput:
    generator = torch.Generator().manual_seed(2)
    return OBJECTIVES[stage.objective].compute(made, batch(), stage.tables, auxiliary, generator)


def losses(made: Any, stage: StageConfig, **auxiliary: torch.nn.Module) -> dict[str, torch.Tensor]:
    return output(made, stage, **auxiliary).losses


def gradient(made: Any, loss: torch.Tensor) -> torch.Tensor:
    made.network.zero_grad()
    loss.backward()
    return made.network.unet.out[-1].weight.grad.flatten().clone()


def test_star_trains_control_and_liem_and_nothing_else() -> None:
    made = build()
    names = choose_trained(made.network, made.parts, StageConfig("star", 1))
    assert names and all("VideoControlNet." in name or ".local" in name for name in names)
    assert any(".local" in name and "VideoControlNet." not in name for name in names)
    sum(losses(made, StageConfig("star", 1)).values()).backward()
    for name, parameter in made.network.named_parameters():
        assert (parameter.grad is not None) == (name in names), name


def test_a_stage_may_choose_other_parts() -> None:
    made = build()
    assert choose_trained(made.network, made.parts, StageConfig("velocity", 1, trains="context")) == ["context.tokens"]
    with pytest.raises(OptionError, match="unknown part 'head'"):
        choose_trained(made.network, made.parts, StageConfig("velocity", 1, trains="head"))
    without = build(liem_space=False, liem_time=False)
    with pytest.raises(OptionError, match="nothing to train: this network has no liem"):
        choose_trained(without.network, without.parts, StageConfig("velocity", 1, trains="liem"))


def test_frozen_parts_do_not_move_in_a_run(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    config = TrainConfig((StageConfig("star", 2, warmup=0),), "tiny", data=data, run=RunConfig(weight_decay=0.1))
    trainer = Trainer(config, tmp_path / "run")
    torch.nn.init.normal_(trainer.network.unet.out[-1].weight, std=0.1)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    moved = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all("VideoControlNet." in name or ".local" in name for name in moved)


def test_the_released_fault_can_be_had_and_ours_trains() -> None:
    released, fault_too = ({"separation": "released", **more} for more in ({}, {"gradient": False}))
    stage, faulty = (make_stage("velocity", 1, frequency=table) for table in (released, fault_too))
    plain = gradient(made := build(), losses(made, stage)["velocity"])
    fault = losses(made, faulty)
    assert float(fault["df"]) > 0 and not fault["df"].requires_grad
    assert torch.equal(gradient(made, sum(fault.values())), plain)
    ours = losses(made, stage)
    assert torch.equal(ours["df"], fault["df"])
    assert not torch.allclose(gradient(made, sum(ours.values())), plain, rtol=1e-3)


@pytest.mark.parametrize("objective", ["one-step", "consistency"])
def test_without_gradient_the_frequency_loss_is_only_shown_whatever_the_objective(objective: Any) -> None:
    made, teacher = build(), build().network
    shown = losses(made, make_stage(objective, 1, frequency={"gradient": False}), teacher=teacher)["df"]
    assert not shown.requires_grad and shown > 0
    trains = losses(made, StageConfig(objective, 1), teacher=teacher)["df"]
    assert gradient(made, trains).norm() > 0 and trains.item() == shown.item()


def test_slices_change_memory_and_not_the_gradient() -> None:
    made = build()
    stages = [make_stage("one-step", 1, one_step={"decode_slice": n}) for n in (0, 1, 2)]
    gradients = [gradient(made, losses(made, stage)["pixel"]) for stage in stages]
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


@pytest.mark.parametrize("objective", ["consistency", "distribution-matching"])
def test_distillation_has_every_term_it_names(objective: Any) -> None:
    made = build()
    auxiliary = {"teacher": build().network, "score": build().network, "critic": PatchCritic(8)}
    for parameter in auxiliary["teacher"].parameters():
        parameter.data.mul_(1.5)  # a teacher that is not the student
    stage = make_stage(objective, 1, losses={"adversarial": 0.1})
    found = losses(made, stage, **auxiliary)
    assert {"pixel", "df", "adversarial"} < found.keys() and len(found) == 4
    for name in found:
        assert gradient(made, losses(made, stage, **auxiliary)[name]).norm() > 0, name
    assert all(p.grad is None for network in auxiliary.values() for p in network.parameters())


def test_a_critic_of_features_judges_decoded_results_too() -> None:
    made, trunk = build(), Vgg16(((4, 64), (4, 128))).requires_grad_(False)
    stage = make_stage("one-step", 1, losses={"adversarial": 0.1}, adversarial={"critic": "features"})
    assert [one.name for one in OBJECTIVES["one-step"].auxiliary(stage.tables)] == ["critic", "features"]
    found = output(made, stage, critic=FeatureCritic(8), features=trunk)
    assert gradient(made, found.losses["adversarial"]).norm() > 0
    assert found.auxiliary_losses["critic"]() > 0


def test_what_auxiliary_networks_learn_reaches_them_and_not_the_network() -> None:
    made = build()
    auxiliary = {"teacher": build().network, "score": build().network, "critic": PatchCritic(8)}
    stage = make_stage("distribution-matching", 1, losses={"adversarial": 0.1})
    wanted = [one.name for one in OBJECTIVES[stage.objective].auxiliary(stage.tables)]
    assert wanted == ["teacher", "score", "critic"]
    learning = output(made, stage, **auxiliary).auxiliary_losses
    assert list(learning) == ["critic", "score"]
    for name, compute in learning.items():
        compute().backward()
        assert any(p.grad is not None and p.grad.any() for p in auxiliary[name].parameters()), name
    assert all(p.grad is None for network in (made.network, auxiliary["teacher"]) for p in network.parameters())


def test_consistency_is_zero_for_a_network_that_is_consistent_with_its_teacher() -> None:
    """A velocity that leads every point of a clip's path to the clip: here the teacher's and the student's alike."""
    made = build()
    clean = made.encode(batch()["gt"])

    class Perfect(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
            return made.schedule.velocity_from_x0(x, clean, t)

    made.network = Perfect()
    stage = make_stage("consistency", 1, losses={"pixel": 0, "frequency": 0})
    found = losses(made, stage, teacher=Perfect())
    assert found.keys() == {"consistency"} and float(found["consistency"].detach()) == pytest.approx(0, abs=1e-3)


def test_consistency_compares_results_whichever_term_asks_for_it() -> None:
    made = build()
    stage = make_stage("consistency", 1, losses={"pixel": 0, "frequency": 0, "structure": 0.5})
    assert losses(made, stage, teacher=build().network).keys() == {"consistency", "structure"}


def test_matching_points_from_the_students_model_to_the_teacher() -> None:
    made = build()
    target = made.encode(batch()["gt"])

    class Certain(torch.nn.Module):
        def __init__(self, answer: torch.Tensor) -> None:
            super().__init__()
            self.answer = answer

        def forward(self, x: torch.Tensor, t: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
            return made.schedule.velocity_from_x0(x, self.answer, t)

    stage = make_stage("distribution-matching", 1, losses={"pixel": 0, "frequency": 0})
    own = made.one_step_latents(batch()["lq"]).detach()
    likely = losses(made, stage, teacher=Certain(own), score=Certain(own))
    assert float(likely["matching"].detach()) == pytest.approx(0, abs=1e-5)
    apart = losses(made, stage, teacher=Certain(target), score=Certain(own))
    assert float(apart["matching"].detach()) > 0.1


def test_the_critic_learns_to_tell_and_its_verdict_reaches_the_clip_only() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
    real, made = torch.randn(2, 3, 2, 32, 32), torch.zeros(2, 3, 2, 32, 32)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = critic_loss(critic, real, made)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    optimizer.zero_grad()
    made.requires_grad_(True)
    adversarial_loss(critic, made).backward()
    assert made.grad is not None and made.grad.norm() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in critic.parameters())


def test_a_batch_that_is_not_finite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(tmp_path)
    trainer = Trainer(TrainConfig((StageConfig("one-step", 2),), "tiny", data=data), tmp_path / "run")
    trainer.network.unet.out[-1].weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"not finite at step 0 \(pixel nan.*clips 0 \(a\.png\)\)"):
        trainer.run()
