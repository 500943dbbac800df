"""Checks of what STAR trains with: degradation, diffusion of training pairs, losses."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from starvsr.degradation.compression import jpeg
from starvsr.degradation.kernels import bell_kernel, filter_clip, pad_kernel, sinc_kernel
from starvsr.diffusion.schedules import star_schedule
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
    for name in case.tensors:
        if re.match(r"low_|high_|cutoff_|gt$|pred$", name):
            case.not_checked(name, "the dynamic frequency loss here differs from the released one on purpose")


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
    for name in ("usm", "usm_kernel"):
        if name in case.tensors:
            case.not_checked(name, "no unsharp masking in this package")


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
