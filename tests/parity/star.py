"""Checks of STAR on I2VGen-XL around the network: schedule, guidance, sampling, tables, colour, frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import tests.parity.star_networks as networks
from starvsr.diffusion.denoiser import Denoise, from_velocity, guided, in_windows
from starvsr.diffusion.samplers import dpmpp_2m_sde, released_start
from starvsr.diffusion.schedules import (
    NoiseSchedule,
    interpolated_cosine_log_snr,
    sigmas_from_log_snr,
    star_schedule,
)
from starvsr.families.star_i2vgen.reference import BrownianSteps
from starvsr.imaging import color, frames
from starvsr.padding import Padding, released_padding
from starvsr.windows import Window, blend_weights, released_overlap, released_windows
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case

FAMILY = "star"

Row = list[Any]


def named(*prefixes: str) -> Callable[[Case], bool]:
    """Recognise cases of STAR on I2VGen-XL by the beginning of their file name."""
    return lambda case: case.stem.startswith(prefixes) and _is_star(case)


def _is_star(case: Case) -> bool:
    return str(case.meta.get("file", "")).endswith(".safetensors") or "pad_to_fit" in case.meta


@check(FAMILY, named("schedule"))
def check_schedule(case: Case) -> None:
    config = case.meta["config"]
    log_snr = interpolated_cosine_log_snr(
        config["n"], config["logsnr_min"], config["logsnr_max"], config["scale_min"], config["scale_max"]
    )
    schedule = NoiseSchedule.from_log_snr(log_snr, zero_terminal_snr=config["zero_terminal_snr"])
    before = sigmas_from_log_snr(log_snr)
    absolute, relative = case.tolerance("sigmas_abs"), case.tolerance("solver_sigmas_rel")
    if "logsnr_before_terminal_rescale" in case.tensors:
        # the file states no tolerance for the logarithm itself, which float32 tells to 2e-4 at t = 0 (the tangent next
        # to its pole): what it means is compared
        meant = sigmas_from_log_snr(case.input("logsnr_before_terminal_rescale").double())
        case.compare_to("logsnr_before_terminal_rescale (as sigmas)", before, meant, absolute=absolute)
    case.compare("sigmas_before_terminal_rescale", before, absolute=absolute)
    case.compare("sigmas", schedule.sigmas, absolute=absolute)
    case.compare("alphas", schedule.alphas, absolute=case.tolerance("alphas_abs", "sigmas_abs"))
    for match in case.names(r"((fast|normal)(\d+)_tmax(\d+))\.sigmas"):
        name, mode, num_steps, t_max = (
            match.group(1),
            match.group(2),
            int(match.group(3)),
            int(match.group(4)),
        )
        levels = _step_list(schedule, mode, num_steps, t_max, 0)
        case.compare(f"{name}.sigmas", levels, relative=relative)
        case.compare(f"{name}.t_model", schedule.integer_timestep_at(levels[:-1]))
        case.compare(f"{name}.alpha_in", 1 / torch.sqrt(levels[:-1] ** 2 + 1), absolute=absolute)
    if "probe.t" in case.tensors:
        _compare_probes(case, schedule)


def _compare_probes(case: Case, schedule: NoiseSchedule) -> None:
    """Compare levels of fractional timesteps and the way back, as shares of what the file's tolerances allow.

    A level is sigma / alpha, so what the file grants its tables the levels have, too: near t = 999, where alpha is
    5e-4, 3e-5 are 6 %. A timestep has the level's tolerance divided by the slope of ln(level) there, at least the 1e-3
    to which timesteps are rounded.
    """
    t, level, t_back = (tensor.double() for tensor in case.inputs("probe.t", "probe.sigma", "probe.t_back"))
    low, high = t.floor().long(), t.ceil().long()
    granted = torch.full_like(t, case.tolerance("solver_sigmas_rel"))
    for table, absolute in (
        (schedule.alphas, case.tolerance("alphas_abs", "sigmas_abs")),
        (schedule.sigmas, case.tolerance("sigmas_abs")),
    ):
        smallest = torch.minimum(table[low], table[high]).double()
        granted = torch.maximum(granted, absolute / smallest)
    found = schedule.level_at(t).double()
    error = torch.where(found == level, 0.0, found / level - 1) / granted
    case.compare_to("probe.sigma (in tolerances)", error, torch.zeros_like(error), absolute=1.0)
    slope = (schedule.log_levels[(low + 1).clamp(max=len(schedule.alphas) - 1)] - schedule.log_levels[low]).nan_to_num()
    found = schedule.timestep_at(level).double()
    error = (found - t_back) / (granted / slope.clamp(min=1e-6)).clamp(1e-3, 0.5)
    case.compare_to("probe.t_back (in tolerances)", error, torch.zeros_like(error), absolute=1.0)


def _step_list(schedule: NoiseSchedule, mode: str, num_steps: int, t_max: int, t_min: int) -> Tensor:
    if mode == "fast":
        return schedule.fast(t_max, t_min)
    if mode == "normal":
        return schedule.normal(num_steps, t_max, t_min)
    raise CannotCheck(f"no step list called {mode}")


@check(FAMILY, named("guidance"))
def check_guidance(case: Case) -> None:
    schedule = star_schedule()
    absolute = case.tolerance("abs")
    x_t, y_out, u_out, x0, noise, t = case.inputs("xt", "y_out", "u_out", "x0", "noise", "t")
    for match in case.names(r"x0_scale([\d.]+)_rescale([\d.]+|None)"):
        rescale = None if match.group(2) == "None" else float(match.group(2))
        predict = guided(lambda x, t: y_out, lambda x, t: u_out, scale=float(match.group(1)), rescale=rescale)
        case.compare(match.group(0), schedule.x0_from_velocity(x_t, predict(x_t, t), t), absolute=absolute)
    diffused = schedule.add_noise(x0, noise, t)
    case.compare("diffuse", diffused, absolute=absolute)
    case.compare("velocity", schedule.velocity_from_x0(diffused, x0, t), absolute=absolute)
    # the same thing without the division, against the looser limit that the file's note grants
    limit = re.search(r"rel (\S+)", str(case.meta["tolerance"].get("note", "")))
    if limit:
        stored = case.input("velocity")
        stable = schedule.velocity(x0, noise, t)
        case.compare_to("velocity (stable form)", stable, stored, absolute=absolute, to_max=float(limit.group(1)))
    restored = schedule.x0_from_velocity(diffused, case.input("velocity"), t)
    case.compare("x0_from_velocity", restored, absolute=absolute)


@check(FAMILY, named("sampler"))
def check_sampler(case: Case) -> None:
    config = case.meta["config"]
    schedule = star_schedule()
    x, hint, positive, negative, noise = case.inputs("x", "hint", "y_pos", "y_neg", "noise")
    absolute = case.tolerance("abs")
    levels = _step_list(schedule, config["solver_mode"], config["steps_argument"], config["t_max"], config["t_min"])
    case.compare("sigmas", levels, relative=case.tolerance("sigmas_rel"))
    case.compare("t_model", schedule.integer_timestep_at(levels[:-1]))

    windows = released_windows(x.shape[2], config["max_chunk_len"] or x.shape[2])
    if config["chunk_inds"]:
        case.exact("chunk_inds", [[w.start, w.stop] for w in windows], config["chunk_inds"])
    predict_with = networks.velocity_network(case)

    def denoise_for(window: Window) -> Denoise:
        control = hint[:, :, window.start : window.stop]
        predict = guided(
            predict_with(positive, control),
            predict_with(negative, control),
            scale=config["guide_scale"],
            rescale=config["guide_rescale"],
        )
        return from_velocity(predict, schedule)

    denoise = in_windows(denoise_for, windows, blend="cut")
    seen: list[Tensor] = []
    estimates: list[Tensor] = []

    def watched(x_t: Tensor, level: float) -> Tensor:
        seen.append(x_t)
        return denoise(x_t, level)

    unused = len(levels) - 2 - len(noise)  # a first step from pure noise adds none and may not be recorded
    with torch.no_grad():
        start = released_start(x, levels[0].item())
        final = dpmpp_2m_sde(
            watched, start, levels, noise=lambda i: noise[i - unused], on_step=lambda i, n, x0: estimates.append(x0)
        )
    if "model_input" in case.tensors:
        case.compare("model_input", torch.stack(seen), absolute=absolute)
    case.compare("x0_steps", torch.stack(estimates), absolute=absolute)
    case.compare("final", final, absolute=absolute)


@check(FAMILY, named("tables"))
def check_tables(case: Case) -> None:
    tables = case.meta
    for name, rule in _TABLE_RULES.items():
        if name in tables:
            rows = [list(row) for row in tables[name]["rows"]]
            case.exact(f"{name} ({len(rows)} rows)", [rule(row) for row in rows], rows)
    if "chunk_assembly" in tables:
        got = [_assembly(entry) for entry in tables["chunk_assembly"]]
        case.exact(f"chunk_assembly ({len(got)} clips)", got, tables["chunk_assembly"])
    for name in tables:
        if name not in _TABLE_RULES and name not in ("what", "made_with", "chunk_assembly"):
            note = tables[name].get("note", "") if isinstance(tables[name], dict) else ""
            case.not_checked(name, f"not part of this package ({note})" if note else "no rule for this table")


def _padding_row(row: Row) -> Row:
    height, width = row[:2]
    padding = released_padding(height, width)
    sides = [padding.left, padding.right, padding.top, padding.bottom]
    return [height, width, *sides, *padding.padded_size(height, width)]


def _chunks_row(row: Row) -> Row:
    return [row[0], row[1], [[w.start, w.stop] for w in released_windows(row[0], row[1])]]


def _sliding_row(row: Row) -> Row:
    return [*row[:3], [[w.start, w.stop] for w in released_windows(*row[:3])]]


def _single_row(row: Row) -> Row:
    window = row[0]
    return [window, [n for n in range(window + 1, 4 * window) if len(released_windows(n, window)) == 1]]


_TABLE_RULES: dict[str, Callable[[Row], Row]] = {
    "pad_to_fit": _padding_row,
    "make_chunks": _chunks_row,
    "sliding_windows_1d": _sliding_row,
    "single_chunk_lengths": _single_row,
}


def _assembly(entry: dict[str, Any]) -> dict[str, Any]:
    length, window = entry["frames"], entry["max_chunk_len"]
    windows, overlap = released_windows(length, window), released_overlap(window)
    weights = blend_weights(windows, "cut")
    source = [[i, j] for i, ws in enumerate(weights) for j, weight in enumerate(ws) if weight]
    chunks = [[w.start, w.stop] for w in windows]
    found = {"chunks": chunks, "overlap": overlap, "cut": overlap // 2, "source_of_frame": source}
    return {"frames": length, "max_chunk_len": window, **found}


@check(FAMILY, named("color_fix"))
def check_color(case: Case) -> None:
    absolute = case.tolerance("abs")
    target = _to_unit(case.input("target"))
    for name in ("lr", "up"):
        source = case.input(f"source_{name}").transpose(0, 1)[None]
        case.compare(f"adain_{name}", _to_bytes(color.adain(target, source)), absolute=absolute)
    enlarged = case.input("source_up")
    matched = color.wavelet(target, enlarged.transpose(0, 1)[None])
    case.compare("wavelet", _to_bytes(matched), absolute=absolute)
    high, low = color.wavelet_split(enlarged)
    case.compare("wavelet_high", high, absolute=absolute / 127.5)  # on [-1, 1]
    case.compare("wavelet_low", low, absolute=absolute / 127.5)


def _to_unit(video: Tensor) -> Tensor:
    """[T, H, W, 3] in 0..255 to [1, 3, T, H, W] in [-1, 1]."""
    return video.permute(3, 0, 1, 2)[None] / 127.5 - 1


def _to_bytes(pixels: Tensor) -> Tensor:
    """[1, 3, T, H, W] in [-1, 1] to [T, H, W, 3] in 0..255, not rounded."""
    return (pixels[0].permute(1, 2, 3, 0) + 1) * 127.5


@check(FAMILY, named("processing"))
def check_processing(case: Case) -> None:
    absolute = case.tolerance("abs")
    config = case.meta["config"]

    def preprocess() -> None:
        try:
            from starvsr.video.pixels import to_unit
        except ImportError as error:
            raise CannotCheck(f"no conversion from bytes: {error}") from error
        rgb = case.input("frames_bgr").flip(-1).numpy()
        case.compare("preprocessed", to_unit(rgb, 8).transpose(0, 1), absolute=absolute)

    case.part("preprocessed", preprocess)
    clip = case.input("preprocessed").transpose(0, 1)[None]  # [1, 3, T, H, W]
    size = [side * config["scale"] for side in clip.shape[-2:]]
    enlarged = frames.enlarge(clip, *size)
    case.compare("upscaled", enlarged[0].transpose(0, 1), absolute=absolute)
    padding = Padding(*config["pad_left_right_top_bottom"])
    padded = frames.pad_white(enlarged, padding)
    case.compare("padded", padded[0].transpose(0, 1), absolute=absolute)
    case.compare_to("padded, cropped again", frames.crop(padded, padding), enlarged)
    video = case.input("video")
    in_bytes = frames.to_byte_range(video)[0].permute(1, 2, 3, 0)
    case.compare("tensor2vid", in_bytes, absolute=case.tolerance("tensor2vid_abs"))
    compare_written(case, frames.truncate_to_bytes(video)[0].permute(1, 2, 3, 0))


def compare_written(case: Case, written: Tensor) -> None:
    """Compare bytes where the stored float is not within 1e-4 of a whole number, as the file allows."""
    exact_value = case.input("tensor2vid")
    clear = (exact_value - exact_value.round()).abs() > 1e-4
    clear |= exact_value == exact_value.round()
    expected = case.input("written_uint8")
    case.compare_to("written_uint8", written[clear].int(), expected[clear].int())


@check(FAMILY, named("brownian"))
def check_brownian(case: Case) -> None:
    config = case.meta["config"]
    levels, expected = case.inputs("sigmas", "noise")
    if find_spec("torchsde") is None:
        raise CannotCheck("the package torchsde is not installed")
    steps = BrownianSteps(tuple(config["shape"]), levels, entropy=config["entropy"])
    case.compare("noise", torch.stack([steps(i) for i in range(len(expected))]), absolute=case.tolerance("abs"))
