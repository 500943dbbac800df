"""Checks of what STAR trains with: degradation, diffusion of training pairs, losses."""

from __future__ import annotations

import math
import re

import numpy as np
import torch
from torch import Tensor

from starvsr.degradation.compression import jpeg
from starvsr.degradation.kernels import bell_kernel, filter_clip, pad_kernel, sinc_kernel
from starvsr.degradation.released import sharpen, usm_kernel
from starvsr.diffusion.schedules import star_schedule
from starvsr.training.losses import _low_mask as low_mask
from starvsr.training.losses import _spectrum as spectrum_of
from starvsr.training.losses import dynamic_frequency_loss, fade, released_bands
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case

FAMILY = "star"


def _is(stem: str, case: Case) -> bool:
    return case.stem.startswith(stem) and str(case.meta.get("file", "")).endswith(".safetensors")


@check(FAMILY, lambda case: _is("df_loss", case))
def check_training_pairs(case: Case) -> None:
    schedule = star_schedule()
    z0, noise, velocity = case.inputs("z0", "noise", "model_out")
    absolute, relative = case.tolerance("abs"), case.tolerance("rel")
    losses = case.input("losses")
    for row, t in enumerate(case.input("t").tolist()):
        step = torch.tensor([t])
        noisy = schedule.add_noise(z0, noise, step)
        target = schedule.velocity_from_x0(noisy, z0, step)
        case.compare(f"zt_{t}", noisy, absolute=absolute)
        case.compare(f"target_{t}", target, absolute=absolute)
        case.compare(f"pred_z0_{t}", schedule.x0_from_velocity(noisy, velocity, step), absolute=absolute)
        loss = (velocity - target).square().mean()
        case.compare_to(f"losses: loss_v at {t}", loss, losses[row, 0], absolute=absolute, to_max=relative)
    case.part("frequency split", lambda: _compare_frequency_split(case, losses))
    case.part("released form", lambda: _compare_released_form(case, losses))


def _compare_frequency_split(case: Case, losses: Tensor) -> None:
    """The released split by magnitude, from our loss on clips scaled to undo its orthonormal transform."""
    absolute, relative = case.tolerance("abs"), case.tolerance("rel")
    gt, pred = case.inputs("gt", "pred")
    if math.prod(gt.shape[:-1]) * (gt.shape[-1] // 2 + 1) > 10_000:
        raise CannotCheck("the released code draws the values for its border at random when there are so many")
    size = math.sqrt(gt.shape[-2] * gt.shape[-1])
    for name, clip in (("gt", gt), ("pred", pred)):
        spectrum = spectrum_of(clip * size)  # [B, 3, T, H, W // 2 + 1]
        low = low_mask(spectrum, clip, 0.25, "magnitude")
        for band, mask in (("low", low), ("high", 1 - low)):
            parts = torch.view_as_real(spectrum * mask).transpose(1, 2).flatten(0, 1)
            case.compare(f"{band}_{name}", parts, absolute=absolute, to_max=relative)
        # the mask is one half exactly where the magnitude is at the border
        border = (spectrum.abs() + torch.logit(low.double(), eps=1e-12) / 10)[(low > 0.01) & (low < 0.99)]
        case.compare_to(f"cutoff_{name}", border.mean(), case.input(f"cutoff_{name}").double(), absolute=absolute)

    def loss_at(t: int) -> Tensor:
        return dynamic_frequency_loss(pred * size, gt * size, torch.tensor([t]), separation="magnitude")[0]

    loss_high, loss_low = loss_at(0), loss_at(999)
    scale = case.meta["config"]["scale"]
    for row, t in enumerate(case.input("t").tolist()):
        loss_v, low, high, _, share, loss_t, total = losses[row]
        for name, ours, stored in (
            ("loss_low", loss_low, low),
            ("loss_high", loss_high, high),
            ("loss_t", scale * loss_at(t), loss_t),
            ("total", loss_v + share * scale * loss_at(t), total),
        ):
            case.compare_to(f"losses: {name} at {t}", ours, stored, to_max=relative)


def _compare_released_form(case: Case, losses: Tensor) -> None:
    """Compare the loss with ``separation="released"`` as training uses it."""
    gt, pred = case.inputs("gt", "pred")
    if math.prod(gt.shape[:-1]) * (gt.shape[-1] // 2 + 1) > 10_000:
        raise CannotCheck("the released code draws the values for its border at random when there are so many")
    for name, clip in (("gt", gt), ("pred", pred)):
        case.compare(f"cutoff_{name}", released_bands(clip)[2], absolute=case.tolerance("abs"))
    for row, t in enumerate(case.input("t").tolist()):
        step = torch.tensor([t])
        loss = dynamic_frequency_loss(pred, gt, step, separation="released")[0]
        total = losses[row, 0] + fade(step)[0] * loss
        for name, ours, stored in (("loss_t", loss, losses[row, 5]), ("total", total, losses[row, 6])):
            case.compare_to(f"losses: {name} as released at {t}", ours, stored, to_max=case.tolerance("rel"))


@check(FAMILY, lambda case: _is("degradation", case))
def check_degradation(case: Case) -> None:
    absolute = case.tolerance("abs")
    image = case.input("image")
    kernels: dict[str, Tensor] = {}
    for name, numbers in case.meta["parameters"].items():
        kernels[name] = torch.from_numpy(_kernel(name, numbers).copy()).float()
        case.compare(name, kernels[name], absolute=absolute)
    if "filtered" in case.tensors:
        blurred = filter_clip(image, kernels["kernel_aniso"].numpy())
        case.compare("filtered", blurred, absolute=absolute)
    for match in case.names(r"jpeg_q([\d.]+)"):
        _compare_jpeg(case, match.group(0), jpeg(image, float(match.group(1))))
    if "usm_kernel" in case.tensors:
        case.compare("usm_kernel", torch.from_numpy(usm_kernel()).float(), absolute=absolute)
    if "usm" in case.tensors:
        case.compare("usm", sharpen(image), absolute=absolute)


def _kernel(name: str, numbers: dict[str, float]) -> np.ndarray:
    size = int(numbers["size"])
    if "cutoff" in numbers:
        return pad_kernel(sinc_kernel(size, numbers["cutoff"]), int(numbers["padded_to"]))
    shape = next((s for s in ("generalized", "plateau") if s in name), "gaussian")
    widths = (numbers["sigma_x"], numbers["sigma_y"], numbers["theta"])
    return bell_kernel(size, *widths, shape=shape, beta=numbers["beta"] or 1.0)


def _compare_jpeg(case: Case, name: str, coded: Tensor) -> None:
    """A coefficient on a rounding boundary may flip, so the file asks for a share of the pixels only."""
    stated = re.search(r"([\d.]+) % of pixels within ([\d.e-]+)", str(case.meta["tolerance"].get("jpeg")))
    if stated is None:
        raise CannotCheck("the file states no tolerance for jpeg")
    share, limit = float(stated.group(1)) / 100, float(stated.group(2))
    expected = case.input(name)
    if coded.shape != expected.shape:
        raise ValueError(f"{name}: shape {list(coded.shape)}, expected {list(expected.shape)}")
    error = (coded - expected).abs().flatten().sort().values
    kept = error[: int(np.ceil(share * len(error)))]
    case.compare_to(f"{name} ({share:.1%} of values)", kept, torch.zeros_like(kept), absolute=limit)
