"""Checks of STAR on CogVideoX, the method: schedule, guidance, sampler, frames in and out, loss, the whole chain."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.engine.traits import Traits
from starvsr.families.star_cogvideox.guidance import GuidanceCurve
from starvsr.families.star_cogvideox.pipeline import Sampling, StarCogVideoXPipeline
from starvsr.families.star_cogvideox.preprocess import prepared, prepared_as_released, resize_bytes
from starvsr.families.star_cogvideox.sampling import denoiser, dpmpp_2m
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule
from starvsr.imaging.color import adain, wavelet_split
from starvsr.models.cogvideox.libraries import library
from starvsr.models.cogvideox.text import unconditional
from starvsr.padding import Padding
from starvsr.training.model import DiffusionModel
from starvsr.training.objectives.tables import FrequencyTable, VelocityStage
from starvsr.training.objectives.velocity import Drawn, velocity_losses
from starvsr.training.star_cogvideox import network_schedule
from tests.parity.checks import check
from tests.parity.cogvideox_networks import FAMILY, TOLERANCE, _libraries, fill, made_transformer, noise
from tests.parity.golden import Case

GUIDANCE = 1e-9
TABLES = 3e-7


@check(FAMILY, lambda case: "dynamic CFG" in case.what and "denoiser_table" in case.tensors)
def check_tables(case: Case) -> None:
    schedule, curve = CogVideoXSchedule(), GuidanceCurve(1.0 + case.meta["scale"])
    case.compare("denoiser_table", schedule.table(), absolute=TABLES)
    for match in case.names(r"n(\d+)_timesteps"):
        num_steps = int(match[1])
        steps = schedule.steps(num_steps)
        case.exact(match[0], steps.timesteps.tolist(), case.input(match[0]).tolist())
        case.compare(f"n{num_steps}_alphas_cumprod_sqrt", steps.alphas[:-1], absolute=TABLES)
        weights = torch.tensor([curve.at(step, num_steps) for step in steps], dtype=torch.float64)
        case.compare(f"n{num_steps}_guidance", weights, absolute=GUIDANCE)


def drawn_as(case: Case, what: str) -> str:
    """The name that noise was drawn by: the file states the beginning of it, which need not be its own name."""
    stated = f"{case.meta.get('input_noise', '')} {case.meta.get('noise', '')}"
    beginning = re.search(r"names '([^'.]+)\.", stated)
    return f"{beginning[1] if beginning else case.stem}.{what}"


def by_channel(tensor: Tensor) -> Tensor:
    """Recorded latents lie [B, T, C, h, w], the package's [B, C, T, h, w]."""
    return tensor.transpose(1, 2)


@check(FAMILY, lambda case: "VPSDEDPMPP2MSampler" in case.what)
def check_sampler(case: Case) -> None:
    steps, curve = CogVideoXSchedule().steps(case.meta["steps"]), GuidanceCurve()
    start, lq, context = case.inputs("start", "lq", "context")
    for name in ("start", "lq"):
        case.compare(name, noise(drawn_as(case, name), tuple(case.input(name).shape)), absolute=1e-6)
    case.exact("timesteps", steps.timesteps.tolist(), case.input("timesteps").tolist())
    case.compare("alphas_cumprod_sqrt", steps.alphas.double(), absolute=TABLES)
    case.compare("sigma_quantized", steps.known.double(), absolute=TABLES)
    weights = torch.tensor([curve.at(step, len(steps)) for step in steps], dtype=torch.float64)
    case.compare("guidance_scale", weights, absolute=GUIDANCE)
    used = case.input("draw_used").tolist()
    stated = [0 if index == 0 else 2 * index for index in range(len(steps) - 1)]
    case.exact("draw_used", used[:-1], stated)
    drawn = [noise(drawn_as(case, f"draw{draw}"), tuple(start.shape)) for draw in stated]
    case.compare("noise_used", torch.cat(drawn), absolute=1e-6)
    asked: list[Tensor] = []

    def velocity(x: Tensor, timestep: int, with_prompt: bool) -> Tensor:
        mean = context.mean() if with_prompt else torch.zeros(())
        out = _analytic(x, by_channel(lq), mean, timestep)
        if timestep == steps.timesteps[0] and len(asked) < 2:
            asked.append(-out)  # the first denoised: nothing is known of the clean latents, so x0 is -v
        return out

    seen: list[Tensor] = []
    states: list[Tensor] = []
    denoise = denoiser(velocity, steps, curve)

    def recorded(x: Tensor, index: float) -> Tensor:
        states.append(x)
        return denoise(x, index)

    final = dpmpp_2m(
        recorded,
        by_channel(start),
        steps,
        noise=lambda index: by_channel(drawn[index]),
        on_step=lambda index, count, x0: seen.append(x0),
    )
    case.compare("final", by_channel(final), absolute=TOLERANCE)
    case.compare("denoised", by_channel(torch.cat(seen)), absolute=TOLERANCE)
    case.compare("x_after_step", by_channel(torch.cat([*states[1:], final])), absolute=TOLERANCE)
    conditional, without = asked
    case.compare("step0_denoiser_out", by_channel(torch.cat([without, conditional])), absolute=TOLERANCE)
    left = [len(steps) - step.timestep for step in steps]
    case.exact("guidance_step_index", left, case.input("guidance_step_index").tolist())


def _analytic(x: Tensor, lq: Tensor, mean: Tensor, timestep: int) -> Tensor:
    """The network that the file states in place of a transformer."""
    wave = torch.tanh(0.8 * x - 0.5 * lq + 0.3 * math.sin(timestep / 100))
    return wave + 0.6 * mean * torch.cos(x + timestep / 100) - 0.2 * lq


@check(FAMILY, lambda case: case.what.startswith("color fix of the CogVideoX branch"))
def check_color_fix(case: Case) -> None:
    target, source = (by_channel(case.input(name)) for name in ("target", "source"))
    matched = adain(target * 2 - 1, source)
    case.compare("adain", by_channel(matched * 0.5 + 0.5), absolute=1e-5)
    recorded = case.input("adain_unclamped").clamp(0, 1)
    case.compare_to("adain_unclamped (clamped)", by_channel(matched * 0.5 + 0.5)[0], recorded, absolute=1e-5)
    frames = [pixels.transpose(1, 2).flatten(0, 1) for pixels in (target, source * 0.5 + 0.5)]
    detail, coarse = wavelet_split(frames[0])[0], wavelet_split(frames[1])[1]
    case.compare("wavelet_unclamped", detail + coarse, absolute=1e-5)


@check(FAMILY, lambda case: "PairedCaptionDataset" in case.what)
def check_preprocess(case: Case) -> None:
    lq = case.input("lq_uint8")
    case.compare("up4_uint8", resize_bytes(lq, 4.0, "bicubic").int(), absolute=0)
    clip = (lq.float() / 255 * 2 - 1).transpose(0, 1)[None]
    normalised = prepared_as_released(clip, 4, Padding())[0].transpose(0, 1)
    case.compare("normalised", normalised, absolute=1e-6)
    ours = (prepared(clip, 4, Padding())[0].transpose(0, 1) + 1) * 127.5
    case.compare("up4_float_path", ours.round(), absolute=1)
    case.compare("down23_uint8", resize_bytes(case.input("big_uint8"), 2 / 3, "bilinear").int(), absolute=0)


@check(FAMILY, lambda case: case.what.startswith("training loss of the CogVideoX branch"))
def check_loss(case: Case) -> None:
    x, lq, hq = case.inputs("x", "lq", "hq")
    for name, stored in (("x", x), ("lq", lq), ("hq", hq)):
        made = noise(drawn_as(case, name), tuple(stored.shape))
        case.compare(name, made.tanh() if name == "hq" else made, absolute=1e-6)
    drawn, table = noise(drawn_as(case, "noise"), tuple(x.shape)), CogVideoXSchedule().table()
    batch = Batch(lq=lq, gt=hq, caption=[None], name=["recorded"])
    tables = VelocityStage(frequency=FrequencyTable(separation="released", gradient=False))
    for row in case.meta["cases"]:
        index = row["idx"]
        case.compare_to(f"alpha at {index}", table[index], torch.tensor(row["alpha_sqrt"]), absolute=TABLES)
        model = StatedModel()
        step = Drawn(by_channel(x), by_channel(lq), torch.tensor([index]), by_channel(drawn))
        losses = velocity_losses(cast(DiffusionModel, model), tables, step, batch)
        case.compare(f"x0_{index}", by_channel(model.estimate), absolute=TOLERANCE)
        total = losses["velocity"] + losses["df"]
        for key, value in (("loss_v", losses["velocity"]), ("df_term", losses["df"]), ("loss_total", total)):
            case.compare_to(f"{key} at {index}", value.reshape(()), torch.tensor(row[key]), absolute=TOLERANCE)
        for key, value in (("grad_total", total), ("grad_of_v_part", losses["velocity"])):
            (gradient,) = torch.autograd.grad(value, model.weight, retain_graph=True)
            case.compare_to(f"{key} at {index}", gradient.abs(), torch.tensor(row[key]), absolute=TOLERANCE)


class StatedModel:
    """The network and the decoder that the file of the loss states, for the functions of the training.

    Its gradients are those of the weight of the noisy latents.
    """

    schedule = network_schedule(CogVideoXSchedule())

    def __init__(self) -> None:
        self.weight = torch.tensor(0.7, requires_grad=True)

    def velocity(self, noisy: Tensor, t: Tensor, hint: Tensor, captions: Any) -> Tensor:
        return torch.tanh(self.weight * noisy - 0.5 * hint + 0.3 * math.sin(int(t) / 100))

    def decode_like(self, latents: Tensor, gt: Tensor, frames_at_once: int) -> Tensor:
        self.estimate = latents
        frames = F.interpolate(latents[:, :3].tanh(), size=gt.shape[2:], mode="nearest")
        return frames.bfloat16().float()


def sat_vae_name(name: str, levels: int) -> str:
    """The published name of a tensor of diffusers' VAE."""

    def block(found: re.Match[str]) -> str:
        way, level, kind, number = found.groups()
        level = str(levels - 1 - int(level)) if way == "up" else level
        return f"{way}.{level}." + (f"block.{number}" if kind == "resnets" else f"{way}sample")

    name = re.sub(r"(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)", block, name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    return name.replace("conv_shortcut", "nin_shortcut")


def made_vae(stated: dict[str, Any]) -> Any:
    """The VAE of a file's configuration, with the weights of its rule."""
    widths = [stated["ch"] * factor for factor in stated["ch_mult"]]
    vae = library("diffusers").AutoencoderKLCogVideoX(
        block_out_channels=widths,
        down_block_types=["CogVideoXDownBlock3D"] * len(widths),
        up_block_types=["CogVideoXUpBlock3D"] * len(widths),
        latent_channels=stated["z_channels"],
        layers_per_block=stated["num_res_blocks"],
        scaling_factor=stated["scaling_factor"],
    )
    state = vae.state_dict()
    made = {
        name: fill("first_stage_model." + sat_vae_name(name, len(widths)), tuple(value.shape))
        for name, value in state.items()
    }
    vae.load_state_dict(made)
    return vae.eval()


@check(FAMILY, lambda case: case.what.startswith("whole chain: lq video"))
def check_pipeline(case: Case) -> None:
    _libraries()
    beside = case.path.with_name("vae.json")
    if beside.is_file():
        stated = json.loads(beside.read_text())
        levels = len(stated["config"]["ch_mult"])
        for sat, ours in stated["sat_to_diffusers"].items():
            if sat_vae_name(ours, levels) != sat:
                case.exact(f"name of {ours}", sat_vae_name(ours, levels), sat)
    network, vae = made_transformer(case.meta["transformer"]), made_vae(case.meta["vae"])
    video, context = case.inputs("lq_video", "context")
    lq, steps = by_channel(video), CogVideoXSchedule().steps(case.meta["steps"])
    case.exact("timesteps", steps.timesteps.tolist(), case.input("timesteps").tolist())
    recorded = case.input("latents")
    shape = tuple(recorded.shape)
    posterior = noise(drawn_as(case, "posterior"), tuple(by_channel(recorded).shape))

    def source(purpose: int | str) -> Tensor:
        if purpose == "vae":
            return posterior
        if purpose == "start":
            return by_channel(noise(drawn_as(case, "start"), shape))
        return by_channel(noise(drawn_as(case, f"draw{2 * int(purpose)}"), shape))

    sampling = Sampling(context, unconditional(context), exact=True)
    run = _pipeline(network, vae, sampling)
    with torch.inference_mode():
        latents = run.sample(run.codec.encode(lq, posterior), steps, source)
        case.compare("latents", by_channel(latents), absolute=TOLERANCE)
        pixels = torch.stack(list(run.codec.decode(latents)), 1)[None]
    case.compare("image", by_channel(pixels.clamp(-1, 1) * 0.5 + 0.5), absolute=TOLERANCE)
    matched = by_channel(adain(pixels.clamp(-1, 1), lq)) * 0.5 + 0.5
    case.compare("image_color_fixed_to_lq", matched, absolute=TOLERANCE)


def _pipeline(network: Any, vae: Any, sampling: Sampling) -> Any:
    return StarCogVideoXPipeline("recorded", network, vae, sampling, scale=1, traits=Traits())
