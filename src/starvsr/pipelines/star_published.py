"""The published STAR on I2VGen-XL (2.04 B parameters): star-light and star-heavy.

Enlarge, pad, encode, diffuse to t = 899, denoise under the control of the low-quality latents and of two prompts,
decode. Knows clips in memory only; stream.py cuts videos into them, loading_published.py gets the weights.

Source: STAR (arXiv 2501.02976) and its released code. Where that code's choices harm the result, exact.py has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise, in_windows
from starvsr.diffusion.samplers import dpmpp_2m_sde, released_start
from starvsr.diffusion.schedules import star_schedule
from starvsr.errors import OptionError
from starvsr.models.feature_cache import FeatureCache, FeatureCaches
from starvsr.models.star_unet import StarUNet
from starvsr.models.temporal_vae_codec import TemporalVaeCodec
from starvsr.padding import Padding
from starvsr.pipelines.acceleration import CompiledNetwork, attention_scope
from starvsr.pipelines.base import ModelTraits, StepCallback
from starvsr.pipelines.color import adain
from starvsr.pipelines.exact import Source
from starvsr.pipelines.frames import crop, enlarge, pad_reflect, pad_white, truncate_to_bytes
from starvsr.pipelines.sampling import FAST_STEPS, Sampling, Text
from starvsr.windows import Window

__all__ = ["FAST_STEPS", "SCALE", "PublishedStar", "Sampling"]

SCALE = 4


class PublishedStar:
    """Enlarges clips with a published STAR network."""

    scale = SCALE

    def __init__(
        self,
        name: str,
        network: StarUNet,
        codec: TemporalVaeCodec,
        contexts: tuple[Tensor, Tensor],
        sampling: Sampling | None = None,
        *,
        traits: ModelTraits | None = None,
        autocast: torch.dtype | None = None,
        attention: str = "auto",
        compile: str | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            name: Name in the registry.
            network: UNet with ControlNet, on its device.
            codec: The temporal autoencoder, on the same device.
            contexts: Encoded prompt and negative prompt, [1, L, D] each.
            sampling: Guidance, windows, choices.
            traits: What the streaming must know.
            autocast: Number type that the network's layers are cast to one by one, norms staying in float32, as the
                released code does; None computes throughout in the type of the weights.
            attention: Kernel of the network's attention, see acceleration.py.
            compile: Mode of torch.compile for the network's blocks; None leaves them as they are.

        Raises:
            OptionError: the device does not have this attention.
        """
        self.name, self.network, self.codec = name, network.eval(), codec
        self.sampling = sampling or Sampling()
        self.traits = traits or ModelTraits(num_steps=FAST_STEPS)
        self.schedule = star_schedule()
        self._autocast = autocast
        weight = next(network.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.contexts = tuple(context.to(weight) for context in contexts)
        self._attention = attention_scope(attention, self.device, autocast or self.dtype, network.config.head_dim)
        self._compiled = CompiledNetwork(self.network, compile) if compile else None

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        return self._compiled.notes if self._compiled else []

    @torch.inference_mode()
    def upscale_clip(
        self,
        lq: Tensor,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = FAST_STEPS,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see ``ClipUpscaler``."""
        frames = self.upscale_frames(
            lq, slice(None), seed=seed, first_frame=first_frame, num_steps=num_steps, on_step=on_step
        )
        return torch.stack(list(frames), dim=1)[None]

    @torch.inference_mode()
    def upscale_frames(
        self,
        lq: Tensor,
        keep: slice,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = FAST_STEPS,
        on_step: StepCallback | None = None,
    ) -> Iterator[Tensor]:
        """Yield the kept frames of the enlarged clip, float32 [3, 4H, 4W] each; see ``FrameUpscaler``."""
        if lq.shape[0] != 1:
            raise OptionError(f"one clip at a time, not {lq.shape[0]}")
        levels = self.sampling.levels(self.schedule, num_steps)
        padding = self.padding(lq.shape[-2] * SCALE, lq.shape[-1] * SCALE)
        noise = self.noise(self._latent_shape(lq, padding), levels, seed, first_frame)
        hint = self.encode(lq, padding, noise)
        latents = self.sample(hint, levels, noise, on_step)
        del hint, noise
        for frame, source in zip(self.decode(latents, padding, keep), lq[0].unbind(1)[keep], strict=True):
            yield self.finish(frame, source)

    def padding(self, height: int, width: int) -> Padding:
        """Return the border of enlarged frames of ``height`` x ``width`` pixels."""
        return self.sampling.choices.pad(height, width, self.codec.factor)

    def noise(self, shape: tuple[int, ...], levels: Tensor, seed: int, first_frame: int) -> Source:
        """Return the noise of a clip; ``shape`` [1, C, T, h, w] is that of its latents."""
        return self.sampling.choices.noise_source(shape, levels, seed=seed, first_frame=first_frame, device=self.device)

    def _latent_shape(self, lq: Tensor, padding: Padding) -> tuple[int, ...]:
        height, width = padding.padded_size(lq.shape[-2] * SCALE, lq.shape[-1] * SCALE)
        return 1, self.codec.channels, lq.shape[2], height // self.codec.factor, width // self.codec.factor

    def encode(self, lq: Tensor, padding: Padding, noise: Source) -> Tensor:
        """Return the low-quality latents [1, C, T, h, w], enlarging and encoding one frame at a time."""
        draws = noise("vae")
        pad = pad_white if self.sampling.choices.padding == "released" else pad_reflect
        latents = torch.empty_like(draws, device=self.device)
        for index in range(lq.shape[2]):
            frame = lq[:, :, index : index + 1].to(self.device, torch.float32)
            enlarged = pad(enlarge(frame, lq.shape[-2] * SCALE, lq.shape[-1] * SCALE), padding)
            latents[:, :, index] = self.codec.encode_frames(enlarged[:, :, 0], draws[:, :, index].to(self.device))
        return latents

    def start(self, hint: Tensor, levels: Tensor, noise: Source) -> Tensor:
        """Return the low-quality latents diffused to the first level."""
        first = self.schedule.integer_timestep_at(levels[:1])
        return self.schedule.add_noise(hint, noise("start").to(hint.device), first)

    def sample(self, hint: Tensor, levels: Tensor, noise: Source, on_step: StepCallback | None = None) -> Tensor:
        """Return clean latents [1, C, T, h, w] for the low-quality latents ``hint``."""
        windows, blend = self.sampling.choices.windows(hint.shape[2], self.sampling.window)
        caches = FeatureCaches(self.sampling.feature_cache)
        denoise = in_windows(lambda window: self._denoiser(hint, window, caches), windows, blend=blend)
        start = self.start(hint, levels, noise)
        if self.sampling.choices.start == "released":
            start = released_start(start, levels[0].item())

        def after_step(step: int, num_steps: int, _x0: Tensor) -> None:
            caches.next_step()
            if on_step is not None:
                on_step(step + 1, num_steps)

        return dpmpp_2m_sde(denoise, start, levels, noise=lambda step: noise(step).to(start.device), on_step=after_step)

    def _denoiser(self, hint: Tensor, window: Window, caches: FeatureCaches) -> Denoise:
        control = hint[:, :, window.start : window.stop].to(self.dtype)
        positive, negative = self.contexts
        texts = {"positive": positive, "negative": negative}
        if self.sampling.guidance_pair == "together":
            texts["both"] = torch.cat(self.contexts)

        def ask(x: Tensor, t: Tensor, text: Text, cache: FeatureCache | None) -> Tensor:
            with self._precision(), self._attention():
                out: Tensor = (self._compiled or self.network)(x.to(self.dtype), t, texts[text], control, cache=cache)
            return out

        return self.sampling.denoiser(ask, self.schedule, caches, window.start)

    def _precision(self) -> AbstractContextManager[object]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._autocast)

    def decode(self, latents: Tensor, padding: Padding, keep: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the kept frames of one clip's latents, cropped, float32 [3, 4H, 4W], about [-1, 1]."""
        wanted = range(latents.shape[2])[keep]
        for index, frame in enumerate(self.codec.decode_frames(latents[0])):
            if index in wanted:
                yield crop(frame, padding)
            if wanted and index == wanted[-1]:
                return

    def finish(self, frame: Tensor, source: Tensor) -> Tensor:
        """Give a decoded frame [3, 4H, 4W] its final values.

        With the released rounding that includes its colour transfer, since fractions are cut off after it; otherwise
        colours and rounding are left to the stream.
        """
        frame = frame.clamp(-1, 1)
        if self.sampling.choices.rounding != "released":
            return frame
        matched = adain(frame[None, :, None], source[None, :, None].to(frame))
        return truncate_to_bytes(matched)[0, :, 0].float() / 127.5 - 1
