"""What an output is made of, settled before its first frame; and encoders made from it.

Knows no files: `writer` puts encoded pictures into containers, `parts` into pieces of an unfinished job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av

from starvsr.errors import OptionError
from starvsr.processors import at_ordinary_priority
from starvsr.video.info import VideoInfo
from starvsr.video.patterns import is_pattern
from starvsr.video.read.opening import captured_log, reason
from starvsr.video.write.containers import ANIMATION_OUTPUTS, IMAGE_OUTPUTS, container_of
from starvsr.video.write.encoders import EncodeOptions, EncodePlan, plan_encoding

_DEFAULT_RATE = Fraction(25)
_MAX_TICKS = 2**31 - 1
_GLOBAL_HEADER = 1 << 22  # FFmpeg's flag: parameter sets go into the container's header
_COUNTING_CODECS = ("mpeg4", "mpeg2video")  # their clock is the frame rate
_MAX_RATE = 100_000


def is_still_output(path: Path) -> bool:
    """Whether an output of that name is made of images: a folder, a pattern, one image or an animation."""
    return is_pattern(path) or path.suffix.lower() in (*IMAGE_OUTPUTS, *ANIMATION_OUTPUTS)


def holds_one(path: Path) -> bool:
    """Whether an output of that name is a single image."""
    return not is_pattern(path) and path.suffix != "" and path.suffix.lower() in IMAGE_OUTPUTS


@dataclass(frozen=True)
class OutputFormat:
    """What an output is made of.

    Attributes:
        path: The output: its name decides the container.
        source: The input, whose colours and shape are carried over; None for none.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        options: How to encode.
        time_base: Seconds per tick of the frames' times.
        frame_rate: Nominal rate.
        bit_depth: Significant bits of the frames.
        alpha: Whether frames have four channels.
    """

    path: Path
    source: VideoInfo | None
    width: int
    height: int
    options: EncodeOptions = field(default_factory=EncodeOptions)
    time_base: Fraction = 1 / _DEFAULT_RATE
    frame_rate: Fraction = _DEFAULT_RATE
    bit_depth: int = 8
    alpha: bool = False

    @classmethod
    def like(
        cls,
        path: Path,
        source: VideoInfo | None,
        width: int,
        height: int,
        options: EncodeOptions | None = None,
        *,
        time_base: Fraction | None = None,
        frame_rate: Fraction | None = None,
        bit_depth: int | None = None,
        alpha: bool | None = None,
    ) -> OutputFormat:
        """Take what is not said from the source."""
        rate = frame_rate or (source.frame_rate if source else _DEFAULT_RATE)
        return cls(
            path=path,
            source=source,
            width=width,
            height=height,
            options=options or EncodeOptions(),
            time_base=time_base or (source.time_base if source else 1 / rate),
            frame_rate=rate,
            bit_depth=bit_depth or (source.bit_depth if source else 8),
            alpha=(source.has_alpha if source else False) if alpha is None else alpha,
        )

    @property
    def is_images(self) -> bool:
        """Whether the output is an image, a numbered pattern or a folder of images."""
        return is_pattern(self.path) or self.path.suffix.lower() in IMAGE_OUTPUTS

    @property
    def is_animation(self) -> bool:
        """Whether the output is an animated GIF, WebP or PNG (a still where there is one frame)."""
        return not is_pattern(self.path) and self.path.suffix.lower() in ANIMATION_OUTPUTS

    @property
    def holds_stills(self) -> bool:
        """Whether each frame is coded as an independent image."""
        return self.is_images or self.is_animation

    @property
    def channels(self) -> int:
        """Channels of the frames: 4 when transparency is kept or was asked to be dropped, else 3."""
        return 4 if self.alpha else 3

    @property
    def aspect(self) -> Fraction:
        """Width of a displayed pixel by its height."""
        return self.source.sample_aspect_ratio if self.source is not None else Fraction(1)

    @cached_property
    def muxer(self) -> str:
        """FFmpeg's name of the container."""
        return container_of(self.path.name, self.path.suffix)

    @cached_property
    def plan(self) -> EncodePlan:
        """Codec, pixel format, colour and settings.

        Raises:
            OptionError: The options contradict each other, the container or the size.
        """
        return plan_encoding(
            self.path.name,
            self.muxer,
            width=self.width,
            height=self.height,
            source=self.source,
            has_alpha=self.alpha,
            bit_depth=self.bit_depth,
            options=self.options,
        )

    @property
    def counts_frames(self) -> bool:
        """Whether the encoder, or the container, knows nothing but a frame rate."""
        return self.muxer == "avi" or self.plan.codec in _COUNTING_CODECS

    @property
    def nominal_rate(self) -> Fraction:
        """Frames per second as encoders and containers can hold them."""
        return self.frame_rate.limit_denominator(_MAX_RATE)

    @property
    def encoder_base(self) -> Fraction:
        """Seconds per tick of the encoder."""
        return 1 / self.nominal_rate if self.counts_frames else self.packet_base

    @property
    def packet_base(self) -> Fraction:
        """Seconds per tick of encoded frames, as containers can hold them."""
        base = self.time_base
        if base.denominator > _MAX_TICKS or base.numerator > _MAX_TICKS:
            return base.limit_denominator(_MAX_TICKS)
        return base

    def set_up(self, context: Any) -> None:
        """Give an encoder's context everything but its rate and its options."""
        plan = self.plan
        context.width, context.height, context.pix_fmt = self.width, self.height, plan.pixel_format
        context.time_base = self.encoder_base
        context.sample_aspect_ratio = self.aspect
        context.color_range = plan.color.range
        context.colorspace = plan.color.matrix
        context.color_primaries = plan.color.primaries
        context.color_trc = plan.color.transfer
        if plan.tag:
            context.codec_tag = plan.tag

    def open(self, context: Any) -> None:
        """Open an encoder that is set up.

        Raises:
            OptionError: It refuses the settings.
        """
        with captured_log() as log, at_ordinary_priority():
            try:
                context.open()
            except (av.error.FFmpegError, ValueError) as error:
                problem = error
            else:
                return
        detail = log[-1] if log else reason(problem)
        raise OptionError(f"{self.plan.codec} refuses these settings ({detail}); choose another codec or setting")
