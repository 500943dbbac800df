"""Checks of the networks of STAR on I2VGen-XL: UNet, ControlNet, single modules, gradients."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from starvsr.diffusion.denoiser import Predict
from starvsr.models.star.attention import Attention, FeedForward, sinusoidal_embedding
from starvsr.models.star.blocks import (
    Downsample,
    ResBlock,
    SpatialTransformer,
    TemporalConvBlock,
    TemporalTransformer,
    Upsample,
    clip_view,
    frame_view,
)
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.liem import SpaceGate, TimeGate
from starvsr.models.star.unet import StarUNet
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case, filled

FAMILY = "star"


def is_network(stem: str) -> Callable[[Case], bool]:
    return lambda case: case.stem.startswith(stem) and str(case.meta.get("file", "")).endswith(".safetensors")


def group_norm(channels: int, eps: float) -> nn.Module:
    return nn.GroupNorm(32, channels, eps)


def build_unet(case: Case, config: dict[str, Any]) -> StarUNet:
    network = filled(lambda: StarUNet(config_of(config)), salt=case.salt, prefix=case.prefix())
    assert isinstance(network, StarUNet)
    return network


def config_of(names: dict[str, Any]) -> StarUNetConfig:
    """Translate the constructor arguments of the published code (dim, dim_mult, num_heads, ...)."""
    return StarUNetConfig(
        in_channels=names["in_dim"],
        out_channels=names["out_dim"],
        width=names["dim"],
        multipliers=tuple(names["dim_mult"]),
        num_res_blocks=names["num_res_blocks"],
        head_dim=names["head_dim"],
        first_heads=names["num_heads"],
        attn_scales=tuple(names["attn_scales"]),
        context_dim=names["context_dim"],
        temporal_stages=(4,) * len(names["dim_mult"]),
    )


def velocity_network(case: Case) -> Callable[[Tensor, Tensor], Predict]:
    """The network that a sampler case names: (context, hint) -> Predict."""
    config = case.meta["config"]
    if "unet" in config:
        unet = build_unet(case, config["unet"])
        return lambda context, hint: lambda x, t: unet(x, t, context, hint)
    if "0.6*tanh(0.7*x + 0.5*s) - 0.4*(t/999)*hint" not in str(case.meta.get("fake_model", "")):
        raise CannotCheck("another analytic model than the one this checker knows")
    return lambda context, hint: lambda x, t: _analytic_velocity(x, t, context, hint)


def _analytic_velocity(x: Tensor, t: Tensor, context: Tensor, hint: Tensor) -> Tensor:
    shape = (-1, 1, 1, 1, 1)
    share = t.to(x.dtype).view(shape) / 999
    bias = context.mean(dim=(1, 2)).view(shape)
    rolled = x.roll(1, dims=2)
    wave = torch.sin(3 * share)
    return 0.6 * torch.tanh(0.7 * x + 0.5 * bias) - 0.4 * share * hint + 0.1 * rolled + 0.05 * x * wave


@check(FAMILY, is_network("unet_full"), slow=True)
def check_full_unet(case: Case) -> None:
    check_unet(case)


@check(FAMILY, is_network("unet"))
def check_unet(case: Case) -> None:
    unet = build_unet(case, case.meta["config"])
    for name, values in case.meta.get("fill_check", {}).items():
        got = unet.state_dict()[name].flatten()[: len(values)]
        case.compare_to(f"fill {name}", got, torch.tensor(values))
    x, t, context, hint = case.inputs("x", "t", "y", "hint")
    absolute = case.tolerance("abs")
    inside: dict[str, Tensor] = {}
    hooks = _watch(unet, inside) if case.names("mid/.*") else []
    with_gradient = "target" in case.tensors
    with torch.set_grad_enabled(with_gradient):
        out = unet(x, t, context, hint)
    for hook in hooks:
        hook.remove()
    case.compare("out", out, absolute=absolute)
    if hooks:
        inside["time_sinusoid"] = sinusoidal_embedding(t, unet.config.width)
        _compare_inside(case, inside, num_frames=x.shape[2])
    if with_gradient:
        case.part("grad/*", lambda: _compare_gradients(case, unet, out))
    with torch.no_grad():
        if "out_nohint" in case.tensors:
            case.compare("out_nohint", unet(x, t, context, None), absolute=absolute)
        _compare_controls(case, unet, x, t, context, hint)


def _watch(unet: StarUNet, inside: dict[str, Tensor]) -> list[torch.utils.hooks.RemovableHandle]:
    """Record what the last module of each block returns."""
    modules: dict[str, nn.Module] = {"time_embed": unet.time_embed}
    for group in ("input_blocks", "output_blocks"):
        for i, block in enumerate(getattr(unet, group)):
            modules[f"{group}.{i}"] = block[-1] if isinstance(block, nn.ModuleList) else block
    modules |= {f"middle_block.{i}": block for i, block in enumerate(unet.middle_block)}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, arguments, result: inside.__setitem__(name, result.clone())  # later ones may write to it

    return [module.register_forward_hook(keep(name)) for name, module in modules.items()]


def _compare_inside(case: Case, inside: dict[str, Tensor], num_frames: int) -> None:
    absolute, to_max = case.tolerance("abs"), case.tolerance("rel_to_max")
    for match in case.names("mid/(.*)"):
        if match.group(1) not in inside:
            case.not_checked(match.group(0), "no such module")
            continue
        found = inside[match.group(1)]
        if case.tensors[match.group(0)].ndim == 5:
            found = clip_view(found, num_frames)
        case.compare(match.group(0), found, absolute=absolute, to_max=to_max)


def _compare_gradients(case: Case, unet: StarUNet, out: Tensor) -> None:
    to_max = case.tolerance("gradients_rel_to_max")
    loss = (out - case.input("target")).square().mean()
    case.compare("loss_v", loss, absolute=case.tolerance("abs"))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in unet.named_parameters()}
    case.exact(
        "parameters_without_gradient",
        sorted(name for name, gradient in gradients.items() if gradient is None),
        sorted(case.meta.get("parameters_without_gradient", [])),
    )
    floor = _gradient_floor(case, gradients, to_max)
    for match in case.names("grad/(.*)"):
        gradient = gradients.get(match.group(1))
        if gradient is None:
            raise ValueError(f"no gradient for {match.group(1)}")
        case.compare(match.group(0), gradient, absolute=floor, to_max=to_max)
    if "grad_norm_controlnet" in case.tensors:
        control = [g for name, g in gradients.items() if name.startswith("VideoControlNet.") and g is not None]
        norm = torch.stack([gradient.norm() for gradient in control]).norm()
        case.compare("grad_norm_controlnet", norm, to_max=to_max)


def _gradient_floor(case: Case, gradients: dict[str, Tensor | None], to_max: float) -> float:
    """What float32 can resolve in a gradient: 16 units of the last place of the network's largest one.

    The gates stand before a LayerNorm, which nearly cancels them, so many of their gradients are 1e-7 of the
    largest and hold rounding noise: against float64 the recorded ones are off by up to 9 % of their own
    maximum. Where the file says "relative to the maximum" this is 1000 times stricter than the network's.
    """
    largest = max(gradient.abs().max().item() for gradient in gradients.values() if gradient is not None)
    return min(16 * torch.finfo(torch.float32).eps, to_max) * largest


def _compare_controls(case: Case, unet: StarUNet, x: Tensor, t: Tensor, context: Tensor, hint: Tensor) -> None:
    merge = "b c t h w -> (b t) c h w"
    controls = unet.VideoControlNet(rearrange(x, merge), t, context, rearrange(hint, merge), x.shape[2])
    absolute = case.tolerance("control_abs")
    for match in case.names(r"control\.(\d+)"):
        case.compare(match.group(0), controls[int(match.group(1))], absolute=absolute)
    if "control_mean" in case.tensors:
        case.compare("control_mean", torch.stack([c.mean() for c in controls]), absolute=absolute)
        case.compare("control_std", torch.stack([c.std() for c in controls]), absolute=absolute)


@check(FAMILY, is_network("modules"))
def check_modules(case: Case) -> None:
    for name, entry in case.meta["cases"].items():
        case.part(f"{name}/out", partial(_check_module, case, name, entry))


def _check_module(case: Case, name: str, entry: dict[str, Any]) -> None:
    inputs = [case.input(match.group(0)) for match in case.names(f"{re.escape(name)}/in\\d+")]
    if name.startswith("sinusoid"):
        absolute = entry.get("tolerance_abs") or case.tolerance("sinusoid_abs")
        width = case.tensors[f"{name}/out"].shape[1]
        case.compare(f"{name}/out", sinusoidal_embedding(inputs[0], width), absolute=absolute)
        return
    shapes = {key: tuple(shape) for key, shape in entry["parameters"].items()}
    head_dim = re.search(r"heads of (\d+)", entry["meaning"])
    build, run = _module_rule(case, name, shapes, int(head_dim.group(1)) if head_dim else _head_dim(case))
    module = filled(build, salt=case.salt, prefix=case.prefix(name))
    case.exact(f"{name}/parameters", {k: tuple(v.shape) for k, v in module.named_parameters()}, shapes)
    with torch.no_grad():
        case.compare(f"{name}/out", run(module, *inputs), absolute=case.tolerance("abs"))


def _head_dim(case: Case) -> int:
    """Width of a head where a case does not tell it: that of the file's spatial transformer."""
    found = re.search(r"heads of (\d+)", str(case.meta["cases"]))
    return int(found.group(1)) if found else 64


Rule = tuple[Callable[[], nn.Module], Callable[..., Tensor]]


def _module_rule(case: Case, name: str, shapes: dict[str, tuple[int, ...]], head_dim: int) -> Rule:
    """How to build and call our class for a reference module, from the shapes of its parameters."""

    def plain(module: nn.Module, *inputs: Tensor) -> Tensor:
        out: Tensor = module(*inputs)
        return out

    if name.startswith("liem_space"):
        return SpaceGate, plain
    if name.startswith("liem_temp"):
        return TimeGate, plain
    if name.startswith("attention"):
        width, context_dim = shapes["to_q.weight"][0], shapes["to_k.weight"][1]
        return lambda: Attention(width, head_dim, context_dim), plain
    if name.startswith("feed_forward"):
        return lambda: FeedForward(shapes["net.2.weight"][0]), plain
    if name.startswith("spatial_transformer"):
        context_dim = shapes["transformer_blocks.0.attn2.to_k.weight"][1]
        channels = shapes["norm.weight"][0]
        return lambda: SpatialTransformer(channels, head_dim, context_dim, group_norm), plain
    if name.startswith("temporal_transformer"):
        inner, channels = shapes["proj_in.weight"][:2]
        return lambda: TemporalTransformer(channels, inner, head_dim, group_norm), _run_on_clip
    if name.startswith("temporal_conv"):
        return lambda: TemporalConvBlock(shapes["conv1.0.weight"][0], 4, group_norm, 0.1), plain
    if name.startswith("resblock"):
        cout, cin = shapes["in_layers.2.weight"][:2]
        emb_dim = shapes["emb_layers.1.weight"][1]
        return lambda: ResBlock(cin, cout, emb_dim, group_norm), _run_resblock(_num_frames(case))
    if name.startswith("downsample"):
        return lambda: Downsample(shapes["op.weight"][0]), plain
    if name.startswith("upsample"):
        return lambda: Upsample(shapes["conv.weight"][0]), plain
    raise CannotCheck("no module of this name in this package")


def _num_frames(case: Case) -> int:
    """Frames per clip where a case has batch and frames merged: those of the file's temporal convolution."""
    return case.input("temporal_conv/in0").shape[2]


def _run_on_clip(module: nn.Module, clip: Tensor) -> Tensor:
    num_frames = clip.shape[2]
    return clip_view(module(frame_view(clip), num_frames), num_frames)


def _run_resblock(num_frames: int) -> Callable[..., Tensor]:
    """The golden embedding differs from frame to frame, ours is one per clip: run the two halves apart."""

    def run(block: ResBlock, features: Tensor, embedding: Tensor) -> Tensor:
        block.has_temporal = False
        hidden = block(features, embedding, 1)
        return frame_view(block.temopral_conv(clip_view(hidden, num_frames)))

    return run
