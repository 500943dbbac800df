"""Checks of StableVSR: scheduler, warp, networks, and whole pipelines on recorded noise and flow."""

from __future__ import annotations

import math
import zlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.families.stablevsr.sampling import Guidance, sample
from starvsr.families.stablevsr.warp import published_warp
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case

FAMILY = "stablevsr"
MODULE, GUIDE = 1e-4, 2e-4
"""Tolerances that the folder's INDEX.json suggests for single modules and results, and for guides."""


def _is(case: Case, *keys: str) -> bool:
    return all(key in case.meta for key in keys)


@check(FAMILY, lambda case: _is(case, "configs", "timesteps", "steps"))
def check_scheduler(case: Case) -> None:
    published = case.meta["configs"]["published_like"]

    def ddpm(**changed: Any) -> DDPM:
        return DDPM(DDPMConfig.from_json({**published, **changed}))

    case.compare("betas", ddpm().betas.float(), absolute=1e-6)
    case.compare("alphas_cumprod", ddpm().alphas_cumprod.float(), absolute=1e-6)
    for name, expected in case.meta["timesteps"].items():
        spacing, offset, count = name.split(".")
        scheduler = ddpm(timestep_spacing=spacing, steps_offset=int(offset.removeprefix("offset")))
        found = [t for t, _ in scheduler.timesteps(int(count.removeprefix("n")))]
        if isinstance(expected, dict):
            found = [*found[:5], *found[-5:]]
            expected = [*expected["first"], *expected["last"]]
        case.exact(f"timesteps {name}", found, expected)
    x, predicted, noise = case.inputs("step_sample", "step_model_output", "step_noise")
    for row in case.meta["steps"]:
        scheduler = ddpm(
            prediction_type=row["prediction_type"],
            clip_sample=row["clip_sample"],
            steps_offset=row.get("steps_offset", published["steps_offset"]),
        )
        custom = row.get("custom_timesteps")
        pairs = scheduler.custom_timesteps(custom) if custom else scheduler.timesteps(row["num_inference_steps"])
        t, previous = next(pair for pair in pairs if pair[0] == row["t"])
        case.exact(f"{row['key']} previous", max(previous, -1), max(row["prev_t"], -1))
        x0 = scheduler.clean(predicted, x, t)
        case.compare(f"{row['key']}_x0", x0, absolute=MODULE, to_max=MODULE)
        case.compare(f"{row['key']}_prev", scheduler.step(x0, x, t, previous, noise), absolute=MODULE, to_max=MODULE)
    if "tr_sample" in case.tensors:
        x, predicted, noise, t = case.inputs("tr_sample", "tr_model_output", "tr_noise", "tr_timesteps")
        abar = ddpm().alphas_cumprod
        schedule = NoiseSchedule(abar.sqrt(), (1 - abar).sqrt())
        case.compare("tr_add_noise", schedule.add_noise(x, noise, t), absolute=MODULE)
        case.compare("tr_velocity", schedule.velocity(x, noise, t), absolute=MODULE)
        case.compare("tr_approximated_x0", schedule.x0_from_velocity(x, predicted, t), absolute=MODULE)


def check_warps(case: Case) -> None:
    """The warp with the modes that the method uses; the others are the reference's alone."""
    for row in case.meta["cases"]:
        name, mode, padding = row["name"], row["interp_mode"], row["padding_mode"]
        if (mode, padding) != ("bilinear", "zeros"):
            for part in ("x", "flow", "y"):
                case.not_checked(f"{name}_{part}", f"{mode} with {padding} is not used by the method")
            continue
        x, flow = case.inputs(f"{name}_x", f"{name}_flow")
        case.compare(f"{name}_y", published_warp(x, flow.permute(0, 3, 1, 2)), absolute=MODULE)


@check(FAMILY, lambda case: _is(case, "case", "tiny_config", "scheduler_config", "call"))
def check_pipeline(case: Case) -> None:
    if find_spec("diffusers") is None:
        raise CannotCheck("diffusers is not installed")
    from starvsr.families.stablevsr.networks import DiffusersNetworks

    unet, tcm, vae = tiny_networks(case.meta)
    config, call = case.meta["config"], case.meta["call"]
    scheduler = DDPM(DDPMConfig.from_json(case.meta["scheduler_config"]))
    custom = call.get("timesteps_to_be_used")
    steps = scheduler.custom_timesteps(custom) if custom else scheduler.timesteps(call["num_inference_steps"])
    case.exact("timesteps", [t for t, _ in steps], case.input("timesteps").tolist())
    lq = case.input("lr_uint8").permute(0, 3, 1, 2).float() / 255 * 2 - 1
    count = len(lq)
    text = case.input("prompt_embeds")
    case.part("text", lambda: _compare_prompt(case))
    if count > 1:
        large = F.interpolate(lq, scale_factor=4, mode="bicubic", align_corners=False)
        case.compare("flow_call0_target", large[1:2], absolute=MODULE)
        case.compare("flow_call0_source", large[:1], absolute=MODULE)
    watched = _RecordedTcm(case, tcm)
    recorded = _Recorded(case, DiffusersNetworks(unet, watched, vae, text), count)

    def flows(target: int, source: int) -> Tensor:
        name, index = ("flow_forward", source) if target > source else ("flow_backward", target)
        return case.input(name)[index : index + 1]

    window = config.get("guidance_window", (0.0, 1.0))
    guidance = Guidance(float(call.get("controlnet_conditioning_scale", 1.0)), *window)
    with torch.inference_mode():
        latents = sample(
            recorded,
            _RecordedDDPM(scheduler.config).watched_by(recorded),
            lq,
            [case.input(f"noise_latent_f{frame}") for frame in range(count)],
            flows,
            steps,
            lambda step, frame: case.input(f"noise_s{step}_f{frame}"),
            guidance=guidance,
            on_frame=recorded.on_frame,
        )
        final = torch.cat([recorded.networks.decode(latent) for latent in latents])
    case.compare("final_raw", final, absolute=MODULE)
    pixels = (final / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    if "final_np" in case.tensors:
        case.compare("final_np", pixels, absolute=MODULE)
    codes = (pixels * 255).round()
    difference = (codes - case.input("final_uint8").float()).abs()
    case.exact("final_uint8 (by one code at most)", bool(difference.max() <= 1), True)
    case.exact("final_uint8 (share that differs below 1e-3)", bool((difference > 0).float().mean() < 1e-3), True)


def _compare_prompt(case: Case) -> None:
    """Tokens and embedding of the prompt, by the text tower of the file's sizes."""
    from tests.parity.stablevsr_units import compare_prompt

    compare_prompt(case, "prompt_embeds", "input_ids", str(case.meta.get("prompt", "")))


class _Recorded:
    """Networks whose calls are compared with what the reference recorded."""

    def __init__(self, case: Case, networks: Any, count: int) -> None:
        self.case, self.networks, self.count = case, networks, count
        self.step, self.position = 0, 0

    @property
    def frame(self) -> int:
        return self.position if self.step % 2 == 0 else self.count - 1 - self.position

    @property
    def name(self) -> str:
        return f"s{self.step}_f{self.frame}"

    def on_frame(self, done: int, total: int) -> None:
        self.step, self.position = divmod(done, self.count)

    def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        name = self.networks.tcm.name = self.name
        if guide is not None and f"guide_{name}" in self.case.tensors:
            self.case.compare(f"guide_{name}", guide, absolute=GUIDE)
        if (self.step, self.position) == (0, 0):
            self.case.compare("unet_in_s0_first", torch.cat([x, lq], 1), absolute=MODULE)
        v = self.networks.predict(x, lq, timestep, guide, scale)
        if f"v_{name}" in self.case.tensors:
            self.case.compare(f"v_{name}", v, absolute=MODULE)
        return v

    def decode(self, latent: Tensor) -> Tensor:
        picture: Tensor = self.networks.decode(latent)
        if f"guide_src_{self.name}" in self.case.tensors:
            self.case.compare(f"guide_src_{self.name}", picture, absolute=GUIDE)
        return picture


class _RecordedTcm:
    """The TCM, its residuals compared with the recorded ones."""

    def __init__(self, case: Case, tcm: nn.Module) -> None:
        self.case, self.tcm = case, tcm
        self.name = ""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        downs, middle = self.tcm(*arguments, **options)
        stored = self.case.tensors
        if f"ctrl_down_l2_{self.name}" in stored:
            sizes = torch.stack([down.double().norm() for down in downs])
            self.case.compare(f"ctrl_down_l2_{self.name}", sizes, to_max=MODULE)
        for key, value in (
            (f"ctrl_mid_{self.name}", middle),
            *((f"ctrl_down{j}_{self.name}", d) for j, d in enumerate(downs)),
        ):
            if key in stored:
                self.case.compare(key, value, absolute=MODULE)
        return downs, middle


class _RecordedDDPM(DDPM):
    """The schedule, its steps compared with the recorded ones."""

    def watched_by(self, recorded: _Recorded) -> _RecordedDDPM:
        object.__setattr__(self, "recorded", recorded)
        return self

    def step(self, x0: Tensor, x: Tensor, timestep: int, previous: int, noise: Tensor | None) -> Tensor:
        after = super().step(x0, x, timestep, previous, noise)
        recorded: _Recorded = self.recorded  # type: ignore[attr-defined]
        for key, value in ((f"x0_{recorded.name}", x0), (f"xprev_{recorded.name}", after)):
            if key in recorded.case.tensors:
                recorded.case.compare(key, value, absolute=MODULE)
        return after


def tiny_networks(meta: dict[str, Any]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """UNet, TCM and VAE of the sizes in a golden file, filled by the rule of weights."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    tiny, salt = meta["tiny_config"], str(meta.get("weight_salt", ""))
    unet = UNet2DConditionModel(**tiny["unet"])
    embedding = tuple(tiny["controlnet_embed"])
    tcm = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=embedding, load_weights_from_unet=False)
    vae = AutoencoderKL(**tiny["vae"])
    for module, prefix in ((unet, "unet."), (tcm, "controlnet."), (vae, "vae.")):
        fill_all(module, salt + prefix)
    return unet, tcm, vae


@torch.no_grad()
def fill_all(module: nn.Module, prefix: str) -> None:
    """Give every floating-point entry of a module's state the value that follows from its name."""
    for name, entry in module.state_dict().items():
        if entry.is_floating_point():
            entry.copy_(fill(prefix + name, tuple(entry.shape)))
    module.eval()


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """Make the weight of a state-dict key: the rule in the folder's INDEX.json; float32."""
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode("utf-8"))))
    drawn = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if len(shape) >= 2:
        return drawn / float(np.float32(math.sqrt(math.prod(shape[1:]))))
    if name.endswith("running_var"):
        return 1 + 0.1 * drawn.abs()
    return 1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn
