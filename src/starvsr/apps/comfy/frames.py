"""A batch of images, as ComfyUI has them, through a model: the plan and the pixels of a job, in memory.

Images whose values are all 8-bit codes are upscaled as the 8-bit files that they come from, others with 16 bits; so a
picture that ComfyUI loads and saves is the command's, to the last bit. Beside the result no more is held than a
segment, its context and what it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starvsr.engine.executor import LocalExecutor
from starvsr.engine.interruption import cancellable_layers
from starvsr.engine.processor import processor_threads
from starvsr.engine.progress import CancelToken, ProgressCallback, ProgressTracker
from starvsr.engine.render import Pixels
from starvsr.engine.segments import plan_segments
from starvsr.engine.stream import StreamSettings, upscale_stream
from starvsr.engine.upscaler import Upscaler
from starvsr.errors import InputError, ResourceError
from starvsr.families.options import options_from
from starvsr.jobs.in_memory import prepare_frames
from starvsr.video import SceneDetector

_EIGHT_BITS = 1e-3
"""How far from a whole number 255 times an 8-bit value may lie in float32."""


@dataclass(frozen=True)
class _Frame:
    pixels: Pixels
    pts: int
    duration: int = 1


def upscale_images(
    images: Tensor,
    upscaler: Upscaler,
    values: dict[str, Any],
    *,
    are_video: bool = True,
    cancel: CancelToken | None = None,
    on_progress: ProgressCallback | None = None,
    on_notes: Callable[[Sequence[str]], None] | None = None,
) -> Tensor:
    """Upscale a batch of images.

    Args:
        images: [T, h, w, 3 or 4] float, 0 to 1.
        upscaler: The loaded model.
        values: Options by name.
        are_video: The batch is consecutive frames, in which scene cuts are found; else each image stands alone.
        cancel: Looked at between layers of the network.
        on_progress: Called often.
        on_notes: Called at the end with what the user should read on how the result was made.

    Returns:
        float32 [T, H, W, 3 or 4] on the CPU, 0 to 1.

    Raises:
        InputError: The tensor is of another shape.
        OptionError: An option cannot be honoured.
        ResourceError: The memory is too small for the result or for the work.
        Cancelled: ``cancel`` was called.
    """
    if images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape:
        raise InputError(f"images are {list(images.shape)}: give [frames, height, width, 3 or 4]")
    num_frames, height, width, channels = images.shape
    cancel = cancel or CancelToken()
    is_eight_bit = all(_is_eight_bit(image) for image in images)
    job = prepare_frames(
        width,
        height,
        options_from(values),
        upscaler=upscaler,
        values=values,
        num_frames=num_frames if are_video else 1,
        channels=channels,
        sample_bytes=1 if is_eight_bit else 2,
    )
    plan = job.render.plan
    cuts: Sequence[int] = range(num_frames)
    if are_video:
        cuts = _cuts(images, is_eight_bit, cancel) if job.options.scene_cuts else ()
    segments = plan_segments(
        num_frames, plan.length, plan.overlap, plan.crossfade, cuts, plan.overlap_after, plan.multiple
    )
    result = _room(num_frames, job.height, job.width, channels if job.finish.keep_alpha else 3)
    top = 255 if is_eight_bit else 65535

    def keep(pixels: Pixels, index: int, _: int) -> None:
        result[index] = pixels.astype(np.float32) / np.float32(top)

    with (
        processor_threads(job.options.threads),
        cancellable_layers(cancel) if job.options.compile is None else nullcontext(),
        upscaler.open(job.render.settings, plan) as session,
    ):
        upscale_stream(
            _read(images, is_eight_bit),
            segments,
            keep,
            LocalExecutor(session, upscaler.device),
            StreamSettings(job.render, job.finish, finish_behind=upscaler.device != "cpu"),
            tracker=ProgressTracker(on_progress, num_frames),
            cancel=cancel,
        )
        if on_notes is not None:
            on_notes(session.notes)
    return torch.from_numpy(result)


def _read(images: Tensor, is_eight_bit: bool) -> Iterator[_Frame]:
    for index, image in enumerate(images):
        yield _Frame(_codes(image, is_eight_bit), index)


def _is_eight_bit(image: Tensor) -> bool:
    codes = image.float() * 255
    return bool((codes - codes.round()).abs().max() < _EIGHT_BITS)


def _codes(image: Tensor, is_eight_bit: bool) -> Pixels:
    """Turn an image [h, w, C] of floats into full-range codes; what lies outside 0 to 1 is cut, NaN is 0."""
    top, dtype = (255, np.uint8) if is_eight_bit else (65535, np.uint16)
    scaled: Any = image.detach().to("cpu", torch.float32).nan_to_num(nan=0.0).clamp(0, 1).mul(top).round()
    return scaled.numpy().astype(dtype)


def _cuts(images: Tensor, is_eight_bit: bool, cancel: CancelToken) -> list[int]:
    detector, cuts = SceneDetector(), []
    for frame in _read(images, is_eight_bit):
        cancel.raise_if_cancelled()
        if detector.is_cut(frame.pixels):
            cuts.append(frame.pts)
    return cuts


def _room(num_frames: int, height: int, width: int, channels: int) -> NDArray[np.float32]:
    """Return memory for the result.

    Raises:
        ResourceError: There is too little.
    """
    import psutil

    from starvsr.quantities import format_size

    wanted, free = 4 * num_frames * height * width * channels, psutil.virtual_memory().available
    if wanted > free:
        raise ResourceError(
            f"{num_frames} images of {width}x{height} need {format_size(wanted)} and {format_size(free)} are free: "
            "give fewer at a time, or a smaller scale; the node for video files needs no more for longer videos"
        )
    return np.empty((num_frames, height, width, channels), np.float32)  # no tensor: the sink's thread writes into it
