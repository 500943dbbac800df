"""Checks of one training step of the TCM: what leads to the loss, gradients, and the optimiser's step."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.training.config import RunConfig, StageConfig
from starvsr.training.objectives.temporal_conditioning import Draws, chain_frames, conditioned_prediction
from starvsr.training.optimizer import build_optimizer, learning_rate
from starvsr.training.parts import NamedParts
from starvsr.training.temporal_conditioning import TemporalConditioningModel
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case
from tests.parity.stablevsr import FAMILY, GUIDE, MODULE, tiny_networks


class _RecordedFlow:
    """Flow as the file has it; notes what it is asked for."""

    name = "recorded"

    def __init__(self, flow: Tensor) -> None:
        self.flow = flow
        self.asked: list[tuple[Tensor, Tensor]] = []

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        self.asked.append((frames, others))
        return self.flow


@check(FAMILY, lambda case: "grad_norms" in case.meta and "chosen_neighbour_index" in case.meta)
def check_training_step(case: Case) -> None:
    if find_spec("diffusers") is None:
        raise CannotCheck("diffusers is not installed")
    meta = case.meta
    unet, tcm, vae = tiny_networks({"tiny_config": _tiny(case), "weight_salt": meta.get("weight_salt", "")})
    for frozen in (unet, vae):
        frozen.requires_grad_(False)
    tcm.requires_grad_(True)
    flow = _RecordedFlow(case.input("flow"))
    model = TemporalConditioningModel(
        name="stablevsr",
        scale=4,
        network=tcm,
        parts=NamedParts(),
        unet=unet,
        vae=vae,
        text=case.input("prompt_embeds")[:1],
        scheduler=DDPM(DDPMConfig.from_json(meta["scheduler"])),
        flow=flow,
    )
    forwards = [index == 0 for index in meta["chosen_neighbour_index"]]
    lq, gt = (
        chain_frames(case.input(name).transpose(1, 2) * 2 - 1, forwards, 1) for name in ("lq", "gt")
    )  # stored as [B, T, 3, h, w] in [0, 1]
    draws = Draws(
        torch.tensor(meta["timesteps"]),
        _in_chain(case, "posterior_noise1", "posterior_noise0"),
        _in_chain(case, "noise_prev", "noise"),
    )
    made = conditioned_prediction(model, lq, gt, draws)
    for name, actual, tolerance in (
        ("latents_prev", made.latents[0], MODULE),
        ("latents", made.latents[1], MODULE),
        ("noisy_latents_prev_cat", torch.cat([made.noisy[0], lq[0]], 1), MODULE),
        ("noisy_latents_cat", torch.cat([made.noisy[1], lq[1]], 1), MODULE),
        ("model_pred_prev", made.predictions[0], MODULE),
        ("approximated_x0_latent_prev", made.estimates[0], MODULE),
        ("approximated_x0_rgb_prev", model.decode(made.estimates[0]), GUIDE),
        ("controlnet_image", made.guides[0], GUIDE),
        ("model_pred", made.predictions[1], MODULE),
        ("target", made.target, MODULE),
    ):
        case.compare(name, actual, absolute=tolerance)
    case.compare_to("loss", made.loss, torch.tensor(meta["loss"]), to_max=MODULE)
    made.loss.backward()
    case.exact("no gradient in the UNet", all(p.grad is None for p in unet.parameters()), meta["unet_grads_none"])
    _compare_step(case, tcm)


def _tiny(case: Case) -> dict[str, Any]:
    """The sizes of the networks, which other files of the folder state: all of it has the same."""
    for path in sorted(case.path.parent.glob("*.json")):
        stated = json.loads(path.read_text(encoding="utf-8"))
        if "tiny_config" in stated:
            sizes: dict[str, Any] = stated["tiny_config"]
            return sizes
    raise CannotCheck("no file of the folder states the sizes of the networks")


def _in_chain(case: Case, first: str, second: str) -> list[Tensor]:
    return case.inputs(first, second)


def _compare_step(case: Case, tcm: nn.Module) -> None:
    """Gradients, their norm, and what the optimiser of the recipe makes of the weights."""
    meta = case.meta
    parameters = dict(tcm.named_parameters())
    for name, expected in meta["grad_norms"].items():
        norm = parameters[name].grad.double().norm()
        case.compare_to(f"grad_norms: {name}", norm, torch.tensor(expected, dtype=torch.float64), to_max=1e-3)
    case.exact("grad_norms: names", sorted(parameters), sorted(meta["grad_norms"]))
    for match in case.names(r"grad_(.+)"):
        case.compare(match.group(0), parameters[match.group(1)].grad, absolute=MODULE, to_max=1e-3)
    wanted = meta["optimiser"]
    norm = nn.utils.clip_grad_norm_(list(parameters.values()), wanted["max_grad_norm"])
    case.compare_to("grad_norm_total", norm, torch.tensor(meta["grad_norm_total"]), to_max=1e-3)
    optimizer = build_optimizer(tcm, NamedParts(), RunConfig(optimizer="adamw", weight_decay=wanted["weight_decay"]))
    for key in ("betas", "eps"):
        found = optimizer.defaults[key]
        case.exact(f"optimiser: {key}", list(found) if key == "betas" else found, wanted[key])
    stage = StageConfig("temporal-conditioning", 10, lr=wanted["lr"], warmup=0, schedule="constant")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(stage, 0)
    optimizer.step()
    for match in case.names(r"after_step_(.+)"):
        # Adam's first step is lr in every weight: where a gradient is 0, its sign is chance
        case.compare(match.group(0), parameters[match.group(1)], absolute=wanted["lr"] / 50)
