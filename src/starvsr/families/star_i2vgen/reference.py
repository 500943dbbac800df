"""Where the released STAR code and this package choose differently, and how to get its choices: `--exact`.

Each field of `ReferenceQuirks` is one repair that can be taken back on its own; `--exact` takes all of them back.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.normal import SameNormalEverywhere
from starvsr.errors import OptionError
from starvsr.options import flag_name
from starvsr.padding import Padding, minimal_padding, released_padding
from starvsr.windows import Blend, Window, blended_windows, released_windows

Source = Callable[[int | str], Tensor]
"""Unit normal noise [1, C, T, h, w] for "vae" (the posterior), "start" (the first latents) or a solver step."""


@dataclass(frozen=True)
class ReferenceQuirks:
    """Choices that the released code makes in another way; "released" is always its way.

    Attributes:
        padding: "minimal" adds what the network needs, reflected; "released" centres in 1280x720 in white.
        window_join: "blend" overlaps windows by a quarter and blends; "released" overlaps by half and cuts.
        decode_groups: "overlap" blends groups of 8 frames; "released" decodes 3 at a time, side by side.
        prompt_join: "fit" sets a comma and keeps the user's words whole; "released" sets nothing between.
        rounding: "nearest" rounds to whole levels; "released" cuts the fraction off, which darkens by half a level.
        noise: "frames" draws by frame, the same for every cut and device; "released" draws as the released script
            does, by the device's own generator and a Brownian tree (package torchsde), one clip as a whole.
        start: "exact" starts at the variance that the network was trained with; "released" is 0.1 % below.
    """

    padding: Literal["minimal", "released"] = "minimal"
    window_join: Literal["blend", "released"] = "blend"
    decode_groups: Literal["overlap", "released"] = "overlap"
    prompt_join: Literal["fit", "released"] = "fit"
    rounding: Literal["nearest", "released"] = "nearest"
    noise: Literal["frames", "released"] = "frames"
    start: Literal["exact", "released"] = "exact"

    def __post_init__(self) -> None:
        """Refuse words that are no choice."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value not in (field.default, "released"):
                raise OptionError(f"{flag_name(field.name)} is {value!r}: use {field.default} or released")

    @classmethod
    def of(cls, exact: bool, **given: str | None) -> ReferenceQuirks:
        """Return the choices of a mode, with those that are given (not None) in their place."""
        base = cls(**{field.name: "released" for field in dataclasses.fields(cls)}) if exact else cls()  # type: ignore[arg-type]
        return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    def pad(self, height: int, width: int, cell_px: int) -> Padding:
        """Return the border for enlarged frames of ``height`` x ``width`` pixels."""
        if self.padding == "released":
            return released_padding(height, width)
        return minimal_padding(height, width, cell_px=cell_px)

    def windows(self, num_frames: int, window: int) -> tuple[list[Window], Blend]:
        """Return the time windows of a clip and how their estimates are joined."""
        if self.window_join == "released":
            return released_windows(num_frames, window), "cut"
        return blended_windows(num_frames, window), "cosine"

    def noise_source(
        self, shape: tuple[int, ...], levels: Tensor, *, seed: int, first_frame: int, device: torch.device
    ) -> Source:
        """Return the noise of a clip with latents of ``shape`` [1, C, T, h, w] and the solver's ``levels``."""
        if self.noise == "released":
            return ReleasedNoise(shape, levels, seed=seed, device=device)
        return FrameNoise(shape, seed=seed, first_frame=first_frame, device=device)


class ReleasedNoise:
    """Noise drawn in the order of the released script, for the same numbers from the same seed and kind of device.

    There the seed is set to 666; then come the posterior of each frame, the first latents (both from the device's
    generator) and, from the CPU's generator, the entropy of the Brownian tree.
    """

    def __init__(
        self, shape: tuple[int, ...], levels: Tensor, *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        """Draw what does not belong to a step.

        Args:
            shape: [1, C, T, h, w] of the latents.
            levels: Solver levels, falling to 0.
            seed: Seed of both generators.
            device: Where the latents lie.

        Raises:
            OptionError: more than one clip, or torchsde is not installed.
        """
        if shape[0] != 1:
            raise OptionError(f"the released noise is drawn for one clip, not {shape[0]}")
        device = torch.device(device)
        generator = torch.Generator(device).manual_seed(seed)
        on_cpu = generator if device.type == "cpu" else torch.Generator().manual_seed(seed)
        _, channels, num_frames, height, width = shape
        draws = [torch.randn(1, channels, height, width, generator=generator, device=device) for _ in range(num_frames)]
        self._drawn = {
            "vae": torch.stack(draws, dim=2),
            "start": torch.randn(shape, generator=generator, device=device),
        }
        entropy = int(torch.randint(0, 2**63 - 1, (), generator=on_cpu).item())
        self._steps = BrownianSteps(shape, levels, entropy=entropy, device=device)

    def __call__(self, purpose: int | str) -> Tensor:
        """Return the noise of a step or of "vae" or "start"."""
        return self._steps(purpose) if isinstance(purpose, int) else self._drawn[purpose]


class BrownianSteps:
    """The noise of solver steps as scaled increments of a Brownian path over the levels."""

    def __init__(
        self, shape: tuple[int, ...], levels: Tensor, *, entropy: int, device: torch.device | str = "cpu"
    ) -> None:
        """Fix the path by ``entropy``; ``levels`` fall, the last one may be 0 and gets no noise.

        Raises:
            OptionError: torchsde is not installed.
        """
        try:
            import torchsde
        except ImportError as error:
            raise OptionError(
                "the released noise needs the package torchsde: pip install torchsde, or add --noise frames"
            ) from error
        self._levels = levels.to(device)
        positive = self._levels[self._levels > 0]
        with SameNormalEverywhere():
            self._tree = torchsde.BrownianTree(
                t0=positive.min(), w0=torch.zeros(shape, device=device), t1=positive.max(), entropy=entropy
            )

    def __call__(self, step: int) -> Tensor:
        """Return the unit normal noise of a step."""
        high, low = self._levels[step], self._levels[step + 1]
        with warnings.catch_warnings(), SameNormalEverywhere():
            warnings.simplefilter("ignore", UserWarning)  # its ends are rounded: a level may lie 1e-7 outside
            increment: Tensor = -self._tree(low, high)  # from the higher level to the lower
        return increment / (high - low).abs().sqrt()
