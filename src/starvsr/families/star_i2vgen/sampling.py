"""How the published networks are sampled: steps, guidance, windows, and what is left out to save time.

Builds the denoiser of one time window from a network that reads texts; knows no weights and no media.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from starvsr.diffusion.denoiser import Denoise, Predict, from_velocity, guided, guided_pair, in_interval
from starvsr.diffusion.samplers import SAMPLERS
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.errors import OptionError
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.models.feature_cache import FeatureCache, FeatureCaches

FAST_STEPS = 14
"""Evaluations of the released step list "fast" (called 15 there)."""

Text = Literal["positive", "negative", "both"]
"""Which texts the network reads; "both" gives two velocities, that of the prompt first."""

Ask = Callable[[Tensor, Tensor, Text, FeatureCache | None], Tensor]
"""(x_t [1, C, T, h, w], t int64 [1], texts, cache) -> velocity [1 or 2, C, T, h, w]."""


@dataclass(frozen=True)
class Sampling:
    """How the published networks are sampled.

    Attributes:
        guidance: Weight of the prompt against the negative prompt; 1 asks the network once instead of twice.
        rescale: Share of the contrast that guidance may not change.
        window: Frames that the network sees at once.
        sampler: Name of the solver, one of ``SAMPLERS``; the released code's is dpmpp-2m-sde.
        step_list: "fast" (14 evaluations), "normal" (evenly spaced), None for fast at 14 and normal otherwise.
        choices: The released code's way or ours.
        guidance_pair: "together" asks the network for both prompts in one call, which computes what comes before the
            first text once and holds two maps of everything behind it; "apart" in two calls, as the released code does.
        guidance_interval: First and last timestep that are guided; the others ask for the prompt alone.
        feature_cache: Steps from one whole computation to the next; in between, the coarse levels are not computed.
    """

    guidance: float = 7.5
    rescale: float = 0.2
    window: int = 32
    sampler: str = "dpmpp-2m-sde"
    step_list: Literal["fast", "normal"] | None = None
    choices: ReferenceQuirks = field(default_factory=ReferenceQuirks)
    guidance_pair: Literal["apart", "together"] = "apart"
    guidance_interval: tuple[int, int] | None = None
    feature_cache: int = 1

    def __post_init__(self) -> None:
        """Refuse an unknown solver, and an interval of guidance where there is none."""
        if self.sampler not in SAMPLERS:
            raise OptionError(f"unknown sampler {self.sampler!r}: use {', '.join(SAMPLERS)}")
        if self.guidance_interval is not None and self.guidance == 1:
            raise OptionError("--guidance-interval has no use with --guidance 1: leave out one of the two")

    def levels(self, schedule: NoiseSchedule, num_steps: int) -> Tensor:
        """Return the solver's levels, one more than evaluations.

        Raises:
            OptionError: the fast list has another number of steps.
        """
        if self.step_list == "fast" and num_steps != FAST_STEPS:
            raise OptionError(f"--step-list fast has {FAST_STEPS} steps, not {num_steps}: leave out one of the two")
        fast = num_steps == FAST_STEPS and self.step_list != "normal"
        return schedule.fast() if fast else schedule.normal(num_steps)

    def denoiser(self, ask: Ask, schedule: NoiseSchedule, caches: FeatureCaches, clip: Hashable) -> Denoise:
        """Return the guided denoiser of one clip.

        Args:
            ask: The network, with the control of this clip bound.
            schedule: Its noise schedule.
            caches: Deep features of all clips; the sampler advances them after each step.
            clip: Any name of this clip, by which its features are kept.
        """

        def reading(text: Text) -> Predict:
            return lambda x, t: ask(x, t, text, caches.of((clip, text)))

        plain = reading("positive")
        if self.guidance == 1:
            return from_velocity(plain, schedule)
        if self.guidance_pair == "together":
            both = reading("both")

            def pair(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
                positive, negative = both(x, t).chunk(2)
                return positive, negative

            predict = guided_pair(pair, scale=self.guidance, rescale=self.rescale)
        else:
            predict = guided(plain, reading("negative"), scale=self.guidance, rescale=self.rescale)
        denoise = from_velocity(predict, schedule)
        if self.guidance_interval is None:
            return denoise
        return in_interval(denoise, from_velocity(plain, schedule), schedule, self.guidance_interval)
