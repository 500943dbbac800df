"""The recipes that have names, from light to heavy.

Source: STAR (arXiv 2501.02976) for the numbers of `heavy`.
"""

from __future__ import annotations

import math

from starvsr.degradation.artefacts import SharpenRanges
from starvsr.degradation.compression import CodecRange
from starvsr.degradation.kernels import KernelRanges
from starvsr.degradation.noise import NoiseRanges
from starvsr.degradation.ranges import DegradationRecipe, RecipeMix, ResizeRanges, StageRecipe
from starvsr.errors import OptionError

_NO_RESIZE = ResizeRanges(probabilities=(0.0, 0.0, 1.0))

_WEB_CODECS = (
    CodecRange("libx264", 6.0, (18, 28), presets=("veryfast", "superfast", "ultrafast")),
    CodecRange("libx265", 1.0, (20, 30), presets=("ultrafast", "superfast")),
    CodecRange("mpeg4", 1.0, (2, 5)),
    CodecRange("libvpx-vp9", 1.5, (20, 38)),
)
_POOR_CODECS = (
    CodecRange("libx264", 5.0, (24, 33), (0.15, 0.6), 0.25, ("veryfast", "superfast", "ultrafast"), 0.2),
    CodecRange("libx265", 1.0, (26, 34), (0.12, 0.5), 0.25, ("ultrafast", "superfast")),
    CodecRange("mpeg4", 1.5, (4, 9)),
    CodecRange("libvpx-vp9", 1.5, (32, 48)),
)
_BAD_CODECS = (
    CodecRange("libx264", 5.0, (26, 36), (0.1, 0.5), 0.35, ("veryfast", "superfast", "ultrafast"), 0.3),
    CodecRange("libx265", 1.0, (28, 36), (0.1, 0.4), 0.35, ("ultrafast", "superfast")),
    CodecRange("mpeg4", 2.0, (5, 14)),
    CodecRange("libvpx-vp9", 1.5, (36, 54)),
)

LIGHT = DegradationRecipe(
    name="light",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(7, 9, 11, 13), sigma=(0.2, 1.2), sinc_probability=0.05),
        resize=_NO_RESIZE,
        noise=NoiseRanges(probability=0.5, gaussian_sigma=(1.0, 6.0), poisson_scale=(0.05, 0.6)),
        blur_probability=0.7,
        jpeg_probability=0.0,
    ),
    second=None,
    codec_final=_WEB_CODECS,
    codec_final_probability=0.95,
)
"""Ordinary web video: mildly soft, little noise, decent compression."""

MEDIUM = DegradationRecipe(
    name="medium",
    first=StageRecipe(
        kernel=KernelRanges(sigma=(0.2, 2.0)),
        resize=ResizeRanges((0.1, 0.6, 0.3), (1.0, 1.2), (0.4, 1.0), ("area", "bilinear", "bicubic", "bicubic_aa")),
        noise=NoiseRanges(probability=0.8, gaussian_sigma=(1.0, 12.0), poisson_scale=(0.05, 1.2)),
        blur_probability=0.9,
        jpeg_probability=0.5,
        jpeg_quality=(50.0, 95.0),
    ),
    second=StageRecipe(
        kernel=KernelRanges(sigma=(0.2, 1.0)),
        resize=ResizeRanges((0.3, 0.2, 0.5), (1.0, 1.2), (0.6, 1.0), ("area", "bilinear", "bicubic")),
        noise=NoiseRanges(probability=0.5, gaussian_sigma=(1.0, 8.0), poisson_scale=(0.05, 0.8)),
        blur_probability=0.4,
        jpeg_probability=0.3,
        jpeg_quality=(50.0, 95.0),
    ),
    codec_final=_POOR_CODECS,
    final_sinc_probability=0.4,
)
"""Between light and heavy: a shared, re-encoded upload."""

HEAVY = DegradationRecipe(
    name="heavy",
    first=StageRecipe(kernel=KernelRanges(), resize=ResizeRanges(), noise=NoiseRanges()),
    second=StageRecipe(
        kernel=KernelRanges(sigma=(0.2, 1.5)),
        resize=ResizeRanges(probabilities=(0.3, 0.4, 0.3), up=(1.0, 1.2), down=(0.3, 1.0)),
        noise=NoiseRanges(gaussian_sigma=(1.0, 25.0), poisson_scale=(0.05, 2.5)),
        blur_probability=0.8,
    ),
    codec_between=_POOR_CODECS,
    codec_between_probability=0.3,
    codec_final=_BAD_CODECS,
    final_sinc_probability=0.8,
    final_modes=("area", "bilinear", "bicubic"),
)
"""Bad old web video: the whole second-order chain with STAR's ranges, then a starved codec."""

CODEC_ONLY = DegradationRecipe(
    name="codec",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(7,), sigma=(0.2, 0.8), sinc_probability=0.0),
        resize=_NO_RESIZE,
        noise=NoiseRanges(probability=0.2, gaussian_sigma=(1.0, 4.0), poisson_scale=(0.05, 0.4)),
        blur_probability=0.3,
        jpeg_probability=0.0,
    ),
    second=None,
    codec_final=_BAD_CODECS,
)
"""A clean small video that a codec has starved: blocks and smear, nothing else."""

VIDEO_WEB = DegradationRecipe(
    name="video-web",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(7, 9, 11), sigma=(0.2, 1.0), sinc_probability=0.1),
        resize=ResizeRanges((0.0, 0.5, 0.5), (1.0, 1.0), (0.5, 1.0), ("bicubic_aa", "bilinear_aa")),
        noise=NoiseRanges(probability=0.3, gaussian_sigma=(1.0, 5.0), poisson_scale=(0.05, 0.5)),
        blur_probability=0.5,
        jpeg_probability=0.0,
    ),
    second=StageRecipe(
        kernel=KernelRanges(sizes=(7,), sigma=(0.2, 0.6), sinc_probability=0.3),
        resize=ResizeRanges((0.3, 0.2, 0.5), (1.0, 1.2), (0.8, 1.0), ("bicubic_aa", "bilinear_aa")),
        noise=NoiseRanges(probability=0.0),
        blur_probability=0.3,
        jpeg_probability=0.0,
    ),
    codec_between=_POOR_CODECS,
    codec_between_probability=0.8,
    codec_final=_BAD_CODECS,
    final_sinc_probability=0.3,
    final_modes=("bicubic_aa", "bilinear_aa"),
    drift=0.02,
)
"""A clip that went through two video sites: coded, rescaled, coded again; hardly any noise."""

OLD_FILM = DegradationRecipe(
    name="old-film",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(9, 11, 13, 15), sigma=(0.8, 2.4), sinc_probability=0.0),
        resize=_NO_RESIZE,
        noise=NoiseRanges(
            probability=1.0,
            gaussian_probability=0.6,
            gaussian_sigma=(6.0, 22.0),
            poisson_scale=(0.6, 2.2),
            grey_probability=0.85,
        ),
        jpeg_probability=0.0,
    ),
    second=StageRecipe(
        kernel=KernelRanges(sizes=(7, 9), sigma=(0.3, 1.2), sinc_probability=0.2),
        resize=ResizeRanges((0.2, 0.2, 0.6), (1.0, 1.2), (0.7, 1.0), ("area", "bilinear", "bicubic")),
        noise=NoiseRanges(probability=0.6, gaussian_sigma=(1.0, 8.0), poisson_scale=(0.05, 0.8), grey_probability=0.8),
        blur_probability=0.7,
        jpeg_probability=0.0,
    ),
    codec_final=_POOR_CODECS,
    codec_final_probability=0.8,
    final_sinc_probability=0.2,
    drift=0.12,
)
"""A scanned film: soft, with strong grey grain whose strength wanders, then an ordinary encode."""

CLEAN = DegradationRecipe(
    name="clean",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(7, 9, 11), sigma=(0.2, 1.4), sinc_probability=0.0),
        resize=_NO_RESIZE,
        noise=NoiseRanges(probability=0.3, gaussian_sigma=(0.5, 2.0), poisson_scale=(0.05, 0.2)),
        blur_probability=0.4,
        jpeg_probability=0.0,
    ),
    second=None,
    codec_final=(),
    codec_final_probability=0.0,
    final_modes=("bicubic_aa", "bicubic_aa", "area", "bilinear_aa", "bicubic"),
)
"""Made smaller and nothing else: by an editor's filter, or by a camera with a little blur and noise."""

MILD = DegradationRecipe(
    name="mild",
    first=StageRecipe(
        kernel=KernelRanges(sizes=(7, 9), sigma=(0.2, 0.8), sinc_probability=0.0),
        resize=_NO_RESIZE,
        noise=NoiseRanges(probability=0.2, gaussian_sigma=(0.5, 3.0), poisson_scale=(0.05, 0.3)),
        blur_probability=0.3,
        jpeg_probability=0.0,
    ),
    second=None,
    codec_final=(
        CodecRange("libx264", 6.0, (12, 34), (0.1, 1.0), 0.25, ("veryfast", "superfast", "ultrafast")),
        CodecRange("libx265", 1.0, (14, 34), (0.08, 0.8), 0.25, ("ultrafast", "superfast")),
        CodecRange("mpeg4", 1.0, (2, 8)),
        CodecRange("libvpx-vp9", 1.5, (16, 48)),
    ),
    final_modes=("area", "bicubic_aa", "bilinear_aa"),
)
"""A clean small video in any codec at any common quality."""

SHARPENED = DegradationRecipe(
    name="sharpened",
    first=MILD.first,
    second=None,
    codec_final=MILD.codec_final,
    codec_final_probability=0.8,
    final_modes=("area", "bicubic_aa", "bilinear_aa"),
    sharpening=SharpenRanges(probability=1.0),
)
"""Sharpened by a camera or an editor: pale and dark seams beside edges."""

ALIASED = DegradationRecipe(
    name="aliased",
    first=MILD.first,
    second=StageRecipe(
        kernel=KernelRanges(sizes=(7,), sigma=(0.2, 0.6), sinc_probability=0.0),
        resize=ResizeRanges((0.0, 0.7, 0.3), (1.0, 1.0), (0.5, 0.95), ("nearest-exact", "bilinear", "bicubic")),
        noise=NoiseRanges(probability=0.0),
        blur_probability=0.1,
        jpeg_probability=0.0,
    ),
    codec_final=MILD.codec_final,
    codec_final_probability=0.8,
    final_modes=("bilinear", "nearest-exact", "bicubic"),
)
"""Made smaller without a filter, rescaled once more: stair-steps and moire."""

INTERLACED = DegradationRecipe(
    name="interlaced",
    first=MILD.first,
    second=None,
    codec_final=MILD.codec_final,
    codec_final_probability=0.8,
    final_modes=("area", "bicubic_aa"),
    sharpening=SharpenRanges(probability=0.3),
    interlace_probability=1.0,
)
"""Broadcast or tape material: combs at moving edges, or the double edges of averaged rows."""

WIDE = RecipeMix(
    "wide",
    (CLEAN, MILD, LIGHT, MEDIUM, HEAVY, CODEC_ONLY, SHARPENED, ALIASED, INTERLACED, OLD_FILM),
    (0.13, 0.11, 0.15, 0.15, 0.19, 0.12, 0.05, 0.03, 0.03, 0.04),
)
"""For training on all that is met: clean input is left clean, mild damage is believed, haloes and steps go."""

EVERYDAY = RecipeMix(
    "everyday",
    (CLEAN, MILD, LIGHT, MEDIUM, HEAVY, CODEC_ONLY, SHARPENED, ALIASED, INTERLACED, OLD_FILM),
    (0.24, 0.15, 0.16, 0.12, 0.13, 0.12, 0.03, 0.02, 0.01, 0.02),
)
"""For training: the kinds of wide, clean and mildly damaged input more often."""

FOOTAGE = RecipeMix(
    "footage",
    (CLEAN, MILD, LIGHT, MEDIUM, HEAVY, CODEC_ONLY, SHARPENED, ALIASED, INTERLACED, OLD_FILM),
    (0.14, 0.12, 0.12, 0.10, 0.10, 0.12, 0.07, 0.10, 0.08, 0.05),
)
"""For training: the kinds of wide; stair-steps, combs and haloes as often as other damage."""

MIXED = RecipeMix("mixed", (LIGHT, MEDIUM, HEAVY, CODEC_ONLY), (0.35, 0.3, 0.15, 0.2))
"""For training: from light to heavy, with a share of plain compression."""

PRESETS: dict[str, DegradationRecipe | RecipeMix] = {
    recipe.name: recipe
    for recipe in (
        LIGHT,
        MEDIUM,
        HEAVY,
        VIDEO_WEB,
        OLD_FILM,
        CODEC_ONLY,
        CLEAN,
        MILD,
        SHARPENED,
        ALIASED,
        INTERLACED,
        MIXED,
        WIDE,
        EVERYDAY,
        FOOTAGE,
    )
}
"""Recipes by name."""


def get_recipe(recipe: DegradationRecipe | RecipeMix | str) -> DegradationRecipe | RecipeMix:
    """Look a preset up by name, or make a mix of "NAME:SHARE, NAME:SHARE"; recipes and mixes are returned as they are.

    Raises:
        OptionError: unknown name, or a mix that cannot be made.
    """
    if not isinstance(recipe, str):
        return recipe
    if ":" in recipe:
        return _mix(recipe)
    if recipe not in PRESETS:
        raise OptionError(
            f"unknown degradation {recipe!r}; use one of {', '.join(PRESETS)}, or a mix of them such as "
            "'light:2, heavy:1'"
        )
    return PRESETS[recipe]


def _mix(words: str) -> RecipeMix:
    """Make a mix of presets; what is a mix itself takes part with its own recipes."""
    recipes: list[DegradationRecipe] = []
    shares: list[float] = []
    for word in words.split(","):
        name, _, share = (part.strip() for part in word.partition(":"))
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise OptionError(
                f"degradation {words!r}: {word.strip()!r} is no NAME:SHARE with a share above 0, such as 'light:2'"
            )
        preset = get_recipe(name)
        parts = preset if isinstance(preset, RecipeMix) else RecipeMix(name, (preset,), (1.0,))
        recipes += parts.recipes
        shares += [number * weight / sum(parts.weights) for weight in parts.weights]
    return RecipeMix(words, tuple(recipes), tuple(shares))
