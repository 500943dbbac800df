"""Checks of StableVSR's evaluation, on the formula-made networks that the file states, and of its warping error."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.metrics.fidelity import psnr, ssim
from starvsr.metrics.temporal_change import (
    flow_change,
    perceptual_change,
    released_visible,
    released_warping_error,
)
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case
from tests.parity.stablevsr import FAMILY, MODULE, check_warps, fill

TOLERANCE = 2e-5
"""Relative to the largest value: float32 sums of another order."""


class _StandInFlow:
    """Flow by a fixed convolution, as the file says; it is given values in [0, 1]."""

    name = "stand-in"

    def __init__(self, salt: str) -> None:
        self.weight = fill(f"{salt}evalstub.flow.weight", (2, 6, 3, 3))

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        return 5 * F.conv2d(torch.cat([frames, others], 1), self.weight, padding=1)


@check(FAMILY, lambda case: "per_frame" in case.meta and "stubs" in case.meta)
def check_evaluation(case: Case) -> None:
    meta = case.meta
    salt = meta.get("weight_salt", "")
    weight = fill(f"{salt}evalstub.lpips.weight", (4, 3, 3, 3))

    def lpips(first: Tensor, second: Tensor) -> Tensor:
        features = [F.conv2d((x + 1) / 2, weight, stride=2, padding=1) for x in (first, second)]
        return (features[0] - features[1]).square().mean()

    means: dict[str, list[float]] = {"psnr": [], "ssim": [], "tlpips": [], "tof": [], "lpips": []}
    for sequence in meta["per_frame"]["psnr"]:
        gt, rec = case.inputs(f"gt_{sequence}", f"rec_{sequence}")
        pairs = list(_pairs(gt, rec))
        values = {
            "psnr": psnr(gt.numpy(), rec.numpy(), color="rgb").tolist(),
            "ssim": ssim(gt.numpy(), rec.numpy(), color="rgb").tolist(),
            "lpips": [float(lpips(a, b)) for a, b in zip(_unit(rec), _unit(gt), strict=True)],
            "tlpips": [perceptual_change(*pair, lpips) for pair in pairs],
            "tof": [flow_change(*pair, _StandInFlow(salt), released=True) for pair in pairs],
        }
        for name, found in values.items():
            wanted = torch.tensor(meta["per_frame"][name][sequence])
            tolerance = 1e-4 if name == "ssim" else TOLERANCE  # sums of another order, and its window in float32
            case.compare_to(f"{name} of {sequence}", torch.tensor(found), wanted, to_max=tolerance)
            means[name].append(sum(found) / len(found))
    for name, found in means.items():
        mean, wanted = sum(found) / len(found), meta["unrounded_means"][name]
        case.compare_to(f"mean {name}", torch.tensor(mean), torch.tensor(wanted), to_max=1e-4)
        if name in meta["printed_scaling"]:
            scaled = mean * meta["printed_scaling"][name]
            label = {"tlpips": "tLPIPS", "tof": "tOF"}[name]
            shown = f"{label}: {round(scaled, meta['printed_scaling']['rounding'][name]):g}"
            case.exact(f"printed {label}", shown in meta["printed"], True)
    for name in ("dists", "musiq", "niqe", "clip"):
        case.not_checked(f"per_frame: {name}", "a stand-in for a network that the package does not have")


def _unit(frames: Tensor) -> list[Tensor]:
    """Return uint8 frames [T, H, W, 3] one by one, [1, 3, H, W] in [-1, 1]."""
    return list((frames.permute(0, 3, 1, 2).float() / 255 * 2 - 1).split(1))


def _pairs(gt: Tensor, rec: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    sharp, made = _unit(gt), _unit(rec)
    for index in range(1, len(sharp)):
        yield made[index], made[index - 1], sharp[index], sharp[index - 1]


@check(FAMILY, lambda case: case.stem.startswith("unit_flow"))
def check_flow(case: Case) -> None:
    check_warps(case)
    for name in ("occ", "occ2"):
        case.part(name, lambda name=name: _compare_visible(case, name))
    case.part("magnitude and gradients", lambda: _compare_gradients(case))
    case.part("warp_error", lambda: _compare_warping_error(case))
    case.part("compute_flows", lambda: _compare_order(case))
    if "getflow_in" in case.tensors:
        case.compare("getflow_r1", case.input("getflow_in").permute(0, 2, 3, 1), absolute=MODULE)
        for name in ("getflow_r2", "getflow_r4"):
            case.not_checked(name, "a rescaled flow fails in the reference's pipeline; the package has none")


def _flow(case: Case, name: str) -> Tensor:
    return case.input(name).permute(0, 3, 1, 2)


def _compare_visible(case: Case, name: str) -> None:
    visible = released_visible(_flow(case, f"{name}_forward"), _flow(case, f"{name}_backward"))
    expected = case.input(f"{name}_mask")
    case.exact(f"{name}_mask", torch.equal(visible.to(expected), expected), True)
    mean = case.meta["mask_mean"][name]
    case.compare_to(f"mask_mean {name}", visible.float().mean(), torch.tensor(mean), absolute=1e-6)


def _compare_gradients(case: Case) -> None:
    """Parts of the mask's formula that the package computes at once; the mask itself is checked bit by bit."""
    flow = _flow(case, "occ_forward")
    case.compare("flow_magnitude_sq", flow.square().sum(1), absolute=MODULE)
    for part, dim, border in (("du", -1, (0, 1, 0, 0)), ("dv", -2, (0, 0, 0, 1))):  # along x, along y
        steps = -F.pad(flow.diff(dim=dim), border)  # the reference subtracts the next pixel
        case.compare(f"grad_x_{part}", steps[:, 0], absolute=MODULE)
        case.compare(f"grad_y_{part}", steps[:, 1], absolute=MODULE)


def _compare_warping_error(case: Case) -> None:
    frame, before = case.inputs("warperr_img0", "warperr_img1")
    case.inputs("warperr_img2", "warperr_img3")  # the reference's flow model is given them and returns the flows below
    flow, back = _flow(case, "occ2_forward"), _flow(case, "occ2_backward")
    stated = case.meta["warp_error"]
    for name, given in (("masked", back), ("unmasked", None)):
        error = released_warping_error(frame, before, flow, given)
        case.compare_to(f"warp_error {name}", torch.tensor(error), torch.tensor(stated[name]), to_max=MODULE)


def _compare_order(case: Case) -> None:
    """The flows that sampling asks for, in two steps: on the way up, then on the way down."""
    from starvsr.diffusion.ddpm import DDPM, DDPMConfig
    from starvsr.families.stablevsr.sampling import sample

    stated = case.meta["compute_flows"]
    count = stated["frames"]
    asked: list[tuple[int, int]] = []

    class Nothing:
        def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
            return torch.zeros_like(x)

        def decode(self, latent: Tensor) -> Tensor:
            return torch.zeros(1, 3, 16, 16)

    def flows(target: int, source: int) -> Tensor:
        asked.append((target, source))
        return torch.zeros(1, 2, 16, 16)

    scheduler = DDPM(DDPMConfig())
    zeros = [torch.zeros(1, 4, 4, 4)] * count
    sample(
        Nothing(), scheduler, torch.zeros(count, 3, 4, 4), zeros, flows, scheduler.timesteps(2), lambda s, f: zeros[0]
    )
    codes = [10 * target + source for target, source in asked]
    case.exact("forward_list_code", codes[: count - 1], stated["forward_list_code"])
    case.exact("backward_list_code", codes[count - 1 :], stated["backward_list_code"])
    case.exact("calls_target_source", sorted(map(list, asked)), sorted(stated["calls_target_source"]))
    if not asked:
        raise CannotCheck("sampling asked for no flow")
