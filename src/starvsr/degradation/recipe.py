"""From a sharp clip to an ordinary low-quality one, by a recipe.

A recipe (``ranges``, those with names in ``presets``) says what may happen; `draw_plan` decides it once for a whole
clip (one kernel, resize factor, noise kind, JPEG quality and codec a clip); `apply_plan` carries it out (noise values
are new for every frame). The order is the second-order chain of Real-ESRGAN with video codecs behind its stages.

Source: Real-ESRGAN (arXiv 2107.10833), RealBasicVSR (arXiv 2111.12704) for codecs on whole clips. Unlike STAR's
released script everything is drawn per clip, the second resize takes the right width, and the ground truth is not
sharpened; `starvsr.degradation.released` has that script's behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from starvsr.degradation.artefacts import (
    InterlaceDraw,
    SharpenDraw,
    draw_interlacing,
    draw_sharpening,
    interlace,
    sharpen,
)
from starvsr.degradation.compression import CodecDraw, apply_codec, draw_codec, jpeg
from starvsr.degradation.kernels import draw_final_sinc, draw_kernel, filter_clip, trim_kernel
from starvsr.degradation.noise import NoiseDraw, add_noise, draw_noise
from starvsr.degradation.presets import get_recipe
from starvsr.degradation.ranges import DegradationRecipe, RecipeMix, StageRecipe
from starvsr.errors import OptionError


@dataclass(frozen=True, eq=False)
class StagePlan:
    """What one stage does to one clip; None where a step is left out."""

    kernel: np.ndarray | None
    resize_factor: float
    resize_mode: str
    noise: NoiseDraw | None
    jpeg_quality: float | None


@dataclass(frozen=True, eq=False)
class DegradationPlan:
    """Everything decided for one clip."""

    recipe: str
    first: StagePlan
    codec_between: CodecDraw | None
    second: StagePlan | None
    final_mode: str
    final_sinc: np.ndarray | None
    jpeg_last: bool
    codec_final: CodecDraw | None
    codec_lead: int
    frame_rate: int
    drift: float = 0.0
    sharpening: SharpenDraw | None = None
    interlacing: InterlaceDraw | None = None


def degrade_clip(
    gt: torch.Tensor | np.ndarray,
    recipe: DegradationRecipe | RecipeMix | str,
    rng: np.random.Generator,
    scale: int = 4,
) -> torch.Tensor:
    """Degrade a sharp clip.

    Args:
        gt: float [T, 3, H, W] in [0, 1], or uint8 of the same layout.
        recipe: a recipe, a mix of them, or the name of a preset ("light", "medium", "heavy", "mixed").
        rng: source of every draw; the same state gives the same bytes.
        scale: LQ size is H // scale, W // scale; rows and columns beyond a multiple of `scale` are cut off
            first, so that LQ lies exactly on the GT.

    Returns:
        float32 [T, 3, H // scale, W // scale] in [0, 1], multiples of 1/255.

    Raises:
        OptionError: wrong shape, a clip smaller than one LQ pixel, or an unknown preset.
    """
    chosen = get_recipe(recipe)
    chosen = chosen.draw(rng) if isinstance(chosen, RecipeMix) else chosen
    return apply_plan(gt, draw_plan(chosen, rng), rng, scale)


def draw_plan(recipe: DegradationRecipe, rng: np.random.Generator) -> DegradationPlan:
    """Decide everything for one clip."""
    return DegradationPlan(
        recipe=recipe.name,
        first=_draw_stage(recipe.first, rng),
        codec_between=draw_codec(rng, recipe.codec_between, recipe.codec_between_probability),
        second=_draw_stage(recipe.second, rng) if recipe.second else None,
        final_mode=str(rng.choice(recipe.final_modes)),
        final_sinc=draw_final_sinc(rng) if rng.random() < recipe.final_sinc_probability else None,
        jpeg_last=bool(rng.random() < 0.5),
        codec_final=draw_codec(rng, recipe.codec_final, recipe.codec_final_probability),
        codec_lead=int(rng.integers(0, 5)),
        frame_rate=int(rng.choice((15, 24, 25, 30))),
        drift=recipe.drift,
        sharpening=draw_sharpening(rng, recipe.sharpening),
        interlacing=draw_interlacing(rng, recipe.interlace_probability),
    )


def apply_plan(
    gt: torch.Tensor | np.ndarray, plan: DegradationPlan, rng: np.random.Generator, scale: int = 4
) -> torch.Tensor:
    """Carry a plan out; shapes and errors as in `degrade_clip`, `rng` only gives the noise values."""
    clip = _checked(gt, scale)
    height, width = clip.shape[-2:]
    lq_size = (height // scale, width // scale)
    walk = random_walk(rng, len(clip), plan.drift) if plan.drift else None
    clip = _apply_stage(clip, plan.first, (height, width), rng, walk=walk)
    if plan.codec_between is not None:
        clip = apply_codec(clip, plan.codec_between, plan.frame_rate)
    if plan.second is None:
        clip = _to_lq(clip, plan, lq_size)
    else:
        quality = plan.second.jpeg_quality
        clip = _apply_stage(clip, plan.second, lq_size, rng, with_jpeg=not plan.jpeg_last, walk=walk)
        clip = _to_lq(clip, plan, lq_size)
        if plan.jpeg_last and quality is not None:
            clip = jpeg(clip.clamp(0, 1), quality)
    if plan.interlacing is not None:
        clip = interlace(clip, plan.interlacing)
    if plan.sharpening is not None:
        clip = sharpen(clip.clamp(0, 1), plan.sharpening)
    if plan.codec_final is not None:
        clip = apply_codec(clip, plan.codec_final, plan.frame_rate, phase=plan.codec_lead)
    return clip.clamp(0, 1).mul(255).round_().div_(255)


def resize_clip(clip: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """Resize float [T, C, H, W] to `size` (height, width); see `ResizeRanges` for the names of modes."""
    if tuple(clip.shape[-2:]) == size:
        return clip
    if mode == "area":
        return F.interpolate(clip, size=size, mode="area")
    return F.interpolate(clip, size=size, mode=mode.removesuffix("_aa"), antialias=mode.endswith("_aa"))


def _checked(gt: torch.Tensor | np.ndarray, scale: int) -> torch.Tensor:
    clip = torch.as_tensor(gt)
    if clip.ndim != 4 or clip.shape[1] != 3 or clip.shape[0] < 1:
        raise OptionError(f"gt must be [T, 3, H, W], got {list(clip.shape)}")
    if min(clip.shape[-2:]) < scale:
        raise OptionError(f"gt of {list(clip.shape)} is smaller than one LQ pixel; use clips of at least {scale} px")
    clip = clip.float() / 255.0 if clip.dtype == torch.uint8 else clip.float()
    height, width = (side // scale * scale for side in clip.shape[-2:])
    return clip[..., :height, :width].contiguous()


def _draw_stage(stage: StageRecipe, rng: np.random.Generator) -> StagePlan:
    blurred = rng.random() < stage.blur_probability
    kernel = trim_kernel(draw_kernel(rng, stage.kernel))
    direction = int(rng.choice(3, p=stage.resize.probabilities))
    factor = (rng.uniform(*stage.resize.up), rng.uniform(*stage.resize.down), 1.0)[direction]
    mode = str(rng.choice(stage.resize.modes))
    noise = draw_noise(rng, stage.noise)
    coded = rng.random() < stage.jpeg_probability
    quality = rng.uniform(*stage.jpeg_quality)
    return StagePlan(kernel if blurred else None, factor, mode, noise, quality if coded else None)


def _apply_stage(
    clip: torch.Tensor,
    plan: StagePlan,
    base_size: tuple[int, int],
    rng: np.random.Generator,
    with_jpeg: bool = True,
    walk: np.ndarray | None = None,
) -> torch.Tensor:
    if plan.kernel is not None:
        blurred = filter_clip(clip, plan.kernel)
        clip = blurred if walk is None else _blended(clip, blurred, walk)
    height, width = (max(round(side * plan.resize_factor), 2) for side in base_size)
    clip = resize_clip(clip, (height, width), plan.resize_mode)
    if plan.noise is not None:
        clip = add_noise(clip, plan.noise, rng, walk)
    if plan.jpeg_quality is not None and with_jpeg:
        clip = jpeg(clip.clamp(0, 1), plan.jpeg_quality)
    return clip


def random_walk(rng: np.random.Generator, num_frames: int, step: float) -> np.ndarray:
    """Draw factors that wander slowly around 1, float32 [num_frames], the first one 1.

    Each step adds normal noise of standard deviation ``step`` to the logarithm and takes a twentieth of it back.
    """
    logarithms = np.zeros(num_frames)
    for index in range(1, num_frames):
        logarithms[index] = 0.95 * logarithms[index - 1] + rng.normal(0, step)
    return np.exp(logarithms).astype(np.float32)


def _blended(sharp: torch.Tensor, blurred: torch.Tensor, walk: np.ndarray) -> torch.Tensor:
    """Blur each frame more or less: factors above 1 go beyond the kernel's blur, at most by half of it."""
    factors = torch.from_numpy(walk).clamp(max=1.5).view(-1, 1, 1, 1)
    return (sharp + factors * (blurred - sharp)).clamp_(0, 1)


def _to_lq(clip: torch.Tensor, plan: DegradationPlan, lq_size: tuple[int, int]) -> torch.Tensor:
    clip = resize_clip(clip, lq_size, plan.final_mode)
    return clip if plan.final_sinc is None else filter_clip(clip, plan.final_sinc)
