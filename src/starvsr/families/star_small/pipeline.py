"""star-small: enlarge, encode, start from the low-quality latents, denoise under their control, decode.

Knows clips in memory only; the engine cuts videos into them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import from_velocity
from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.samplers import dpmpp_2m_sde
from starvsr.diffusion.schedules import NoiseSchedule, star_schedule
from starvsr.engine.allocator import keep_freed_memory
from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.clip_upscaler import ClipArguments, ClipSession, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, Session
from starvsr.errors import OptionError
from starvsr.families.precision import choose_dtype
from starvsr.families.registry import get_spec
from starvsr.families.settings import job_names, load_names
from starvsr.families.star_small.settings import StarSmallSettings
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.imaging.frames import enlarge
from starvsr.models.codecs import Codec, PixelUnshuffleCodec
from starvsr.models.star.small.config import StarSmallConfig
from starvsr.models.star.small.model import StarSmall
from starvsr.models.star.small.one_step import OneStep
from starvsr.models.weight_ends import FAITHFUL, between_ends, has_ends
from starvsr.models.weights import check_fit, digest, read_metadata, read_tensors, with_stored_sizes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class StarSmallUpscaler(ClipUpscaler):
    """Enlarges clips with a STAR network.

    One step starts from the low-quality latents themselves and draws no noise. More steps start from the noised
    low-quality latents and sample with DPM-Solver++(2M) SDE, as the released STAR code does.

    Source: STAR (arXiv 2501.02976).
    """

    def __init__(
        self,
        spec: StarSmallSpec,
        network: StarSmall,
        codec: Codec,
        schedule: NoiseSchedule,
        traits: Traits,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loaded_with: Mapping[str, Any] | None = None,
        at_detail: Callable[[float], StarSmall] | None = None,
    ) -> None:
        """Put the parts together; :meth:`load` makes them by name.

        Args:
            spec: The entry.
            network: In float32.
            codec: Between pixels and latents.
            schedule: Of the noise.
            traits: See `Upscaler`.
            device: Where the network computes.
            dtype: What it computes in.
            loaded_with: See `Upscaler`.
            at_detail: Makes the network of a job's ``detail``, where weights hold two ends.
        """
        self.spec, self.codec, self.schedule = spec, codec, schedule
        self.name, self.scale, self.traits, self.device = spec.name, spec.scale, traits, device
        self.loaded_with, self._dtype, self._at_detail = loaded_with or {}, dtype, at_detail
        self._other: tuple[float, StarSmallUpscaler] | None = None
        self._take(network)

    def _take(self, network: StarSmall) -> None:
        t = self.spec.one_step_timestep
        alpha, sigma = float(self.schedule.alphas[t]), float(self.schedule.sigmas[t])
        one_step = OneStep(network, self.codec, self._enlarge, alpha=alpha, sigma=sigma, timestep=t)
        self.one_step = one_step.to_network_type(self._dtype).to(self.device)
        self.network = network.eval().to(self.device, self._dtype) if self.spec.samples else None

    @classmethod
    def load(
        cls, name: str, *, weights: Path | str | None = None, device: str = "cpu", precision: str | None = None
    ) -> StarSmallUpscaler:
        """Build a model of the registry.

        Args:
            name: name in the registry.
            weights: safetensors file in place of the one that belongs to the model.
            device: where the network computes.
            precision: "fp32", "fp16", "bf16", or "auto" (None) for what is fast and safe on the device.

        Raises:
            OptionError: unknown name, or a precision that the device has not.
            WeightsError: weights missing, damaged or of another model.
        """
        return cls.of(get_spec(name, StarSmallSpec), weights=weights, device=device, precision=precision)

    @classmethod
    def of(
        cls,
        spec: StarSmallSpec,
        *,
        weights: Path | str | None = None,
        device: str = "cpu",
        precision: str | None = None,
        steps: int | None = None,
    ) -> StarSmallUpscaler:
        """Build a model by its entry; see `load`. ``steps`` are those of jobs that name none."""
        path = spec.packaged_weights() if weights is None else Path(weights)
        tensors = read_tensors(path)
        config, both_ends = stored_config(spec.network, path, tensors), has_ends(tensors)

        def at_detail(detail: float) -> StarSmall:
            network = StarSmall(config, spec.context_tokens)
            chosen = between_ends(tensors, detail) if both_ends else tensors
            check_fit(network.state_dict(), chosen, path)
            network.load_state_dict({name: tensor.float() for name, tensor in chosen.items()})
            return network.requires_grad_(False)

        network = at_detail(spec.detail)
        if read_metadata(path).get("samples") == "true":  # trained so that it can also go several steps from noise
            spec = dataclasses.replace(spec, samples=True)
        dtype = choose_dtype(precision or "auto", device)
        given = {"weights": weights, "precision": precision, "steps": steps}
        traits = Traits(
            accepts=(job_names(StarSmallSettings) if spec.samples else frozenset())
            | (frozenset({"detail"}) if both_ends else frozenset()),
            loads=load_names(StarSmallSettings),
            overlap=spec.overlap,
            crossfade=spec.crossfade,
            tile_overlap=spec.tile_overlap,
            segment=spec.segment,
            fixed_bytes=dtype.itemsize * sum(parameter.numel() for parameter in network.parameters()),
            bytes_per_pixel=spec.bytes_per_pixel * dtype.itemsize // 4,
            bytes_per_tile_pixel=spec.bytes_per_tile_pixel,
            digest=digest(path),
        )
        if device == "cpu":
            keep_freed_memory()
        return cls(
            spec,
            network,
            PixelUnshuffleCodec(),
            star_schedule(),
            traits,
            device=device,
            dtype=dtype,
            loaded_with={name: value for name, value in given.items() if value is not None},
            at_detail=at_detail if both_ends else None,
        )

    def at_detail(self, detail: float | None) -> StarSmallUpscaler:
        """Return this model with the weights of a job's ``detail``; None, and one end alone, leave it as it is."""
        if detail is None or self._at_detail is None or detail == self.spec.detail:
            return self
        if self._other is None or self._other[0] != detail:
            other = copy.copy(self)
            other._take(self._at_detail(detail))
            self._other = detail, other  # the next job often has the same
        return self._other[1]

    @contextmanager
    def open(self, settings: JobSettings, plan: ChunkPlan | None = None) -> Iterator[Session]:
        """Begin a job, with the weights of its ``detail``."""
        yield ClipSession(self.at_detail(settings.values.get("detail")), settings)

    def _enlarge(self, lq: Tensor) -> Tensor:
        return enlarge(lq, lq.shape[-2] * self.scale, lq.shape[-1] * self.scale, self.spec.enlarge)

    @torch.inference_mode()
    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, scale*H, scale*W]; see `ClipUpscaler`."""
        if arguments.get("num_steps", 1) == 1:  # no noise, no steps: seed and frame numbers play no part
            return torch.stack([frame.clamp_(-1, 1) for frame in self.one_step(lq)], 1)[None]
        hint = self.codec.encode(self._enlarge(lq))  # [1, C, T, H, W]
        return self.codec.decode(self._sample(hint, arguments)).clamp_(-1, 1)

    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Return an iterator of the enlarged frames that are kept; see `ClipUpscaler`. One step holds one at a time."""
        if arguments.get("num_steps", 1) == 1:
            frames: Iterator[Tensor] = self.one_step(lq, keep)
            return frames
        return iter(self.upscale_clip(lq, **arguments)[0, :, keep].unbind(1))

    def _sample(self, hint: Tensor, arguments: ClipArguments) -> Tensor:
        network, num_steps, on_step = self.network, arguments["num_steps"], arguments.get("on_step")
        if network is None:
            raise OptionError(f"{self.name} works in one step: it cannot take {num_steps}")
        sigmas = self.schedule.normal(num_steps)
        seed, first_frame = arguments.get("seed", 0), arguments.get("first_frame", 0)
        noise = FrameNoise(tuple(hint.shape), seed=seed, first_frame=first_frame, device=hint.device)
        top = self.schedule.integer_timestep_at(sigmas[:1])
        start = self.schedule.add_noise(hint, noise("start"), top)
        denoise = from_velocity(lambda x, t: network(x, t, hint), self.schedule)

        def after_step(step: int, _total: int, _latents: Tensor) -> None:
            if on_step is not None:
                on_step(step + 1, num_steps)

        return dpmpp_2m_sde(denoise, start, sigmas, noise=noise, on_step=after_step)


def stored_config(base: StarSmallConfig, path: Path, tensors: Mapping[str, Tensor]) -> StarSmallConfig:
    """Return the sizes of the network in a file of weights: those of ``base`` with the changes in its metadata.

    Files without refinement are older, and know nothing of what lies beyond the ends of a clip.

    Raises:
        WeightsError: its sizes make no sense.
    """
    if not any(name.removeprefix(FAITHFUL).startswith("refinement.") for name in tensors):
        base = dataclasses.replace(base, refinement_width=0, temporal_padding="zeros")
    return with_stored_sizes(base, path)


def load(entry: StarSmallSpec, *, device: str = "cpu", **options: Any) -> StarSmallUpscaler:
    """Load a model for the registry."""
    return StarSmallUpscaler.of(entry, device=device, **options)
