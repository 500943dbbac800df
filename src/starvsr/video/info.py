"""What is known about a piece of media before its frames are read. Plain data, no FFmpeg here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits

UNSPECIFIED = 2
LIMITED, FULL = 1, 2

_MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
_TRANSFERS = {16: "smpte2084 (PQ)", 18: "arib-std-b67 (HLG)"}


@dataclass(frozen=True)
class MasteringDisplay:
    """HDR10 mastering display (SMPTE ST 2086): CIE xy chromaticities, luminances in cd/m2; 0 for what is not told."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    min_luminance: Fraction
    max_luminance: Fraction

    @property
    def is_whole(self) -> bool:
        """Whether colours and luminances are told."""
        points = (*self.red, *self.green, *self.blue, *self.white)
        return all(points) and self.max_luminance > self.min_luminance


@dataclass(frozen=True)
class ColorTags:
    """Colour description as code points of ITU-T H.273; 2 means "not said".

    Attributes:
        matrix: YUV matrix (1 BT.709, 5/6 BT.601, 9 BT.2020, 0 RGB).
        range: 0 not said, 1 limited (16..235), 2 full (0..255).
        primaries: 1 BT.709, 9 BT.2020, ...
        transfer: 1 BT.709, 16 PQ, 18 HLG, ...
        mastering: HDR10 mastering display, if the stream carries one.
        content_light: HDR10 (MaxCLL, MaxFALL) in cd/m2, if the stream carries them.
        chroma_location: Where subsampled chroma lies, by FFmpeg's names; ``center`` also where that is not said.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    mastering: MasteringDisplay | None = None
    content_light: tuple[int, int] | None = None
    chroma_location: str = "center"

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer curve is PQ or HLG."""
        return self.transfer in (16, 18)

    @property
    def is_full_range(self) -> bool:
        """Whether luma uses all codes (not said counts as limited)."""
        return self.range == FULL

    def describe(self) -> str:
        """Say the tags in words, e.g. ``bt709, limited``."""
        words = [_MATRICES.get(self.matrix, "matrix not said" if self.matrix == UNSPECIFIED else str(self.matrix))]
        words.append({LIMITED: "limited", FULL: "full"}.get(self.range, "range not said"))
        if self.transfer in _TRANSFERS:
            words.append(_TRANSFERS[self.transfer])
        return ", ".join(words)


@dataclass(frozen=True)
class PhotoData:
    """What a photo carries beside its samples.

    Attributes:
        profile: ICC profile of the RGB samples, byte for byte as in the file (for gray photos: made of theirs).
        profile_name: The profile's own name.
        is_srgb: Whether the profile says nothing that sRGB does not.
        lost_profile: Name of a profile that describes no RGB, and is not kept.
        exif: EXIF data, a TIFF structure, without orientation and thumbnail.
        xmp: XMP packet; its orientation is reset.
        dpi: Pixels per inch, horizontally and vertically.
    """

    profile: bytes | None = None
    profile_name: str = ""
    is_srgb: bool = False
    lost_profile: str | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[Fraction, Fraction] | None = None


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container.

    Attributes:
        index: Position in the container.
        kind: ``video``, ``audio``, ``subtitle``, ``data``, ``attachment`` or ``cover`` (cover art).
        codec: FFmpeg's name of the codec, or ``unknown``.
        language: Three letters, or None.
        title: The stream's title, or None.
        detail: A few words for people (``48000 Hz, stereo``).
        sample_rate: Samples per second of sound, else None.
    """

    index: int
    kind: str
    codec: str
    language: str | None = None
    title: str | None = None
    detail: str = ""
    sample_rate: int | None = None


@dataclass(frozen=True)
class Chapter:
    """A chapter: start and end in units of ``time_base``, and its tags (``title``)."""

    start: int
    end: int
    time_base: Fraction
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoInfo:
    """What ``probe`` finds out about a video, an image, or a folder of images.

    Attributes:
        path: The input as given.
        kind: ``video``, ``image`` (one still), ``images`` (folder or numbered pattern), ``animation`` (WebP).
        container: FFmpeg's name of the container, or ``images``.
        codec: FFmpeg's name of the video codec.
        width: Width in pixels as displayed upright, after rotation.
        height: Height in pixels as displayed upright, after rotation.
        coded_width: Width in pixels as stored.
        coded_height: Height in pixels as stored.
        rotation: Degrees clockwise that the stored picture is turned for display: 0, 90, 180 or 270.
        display_matrix: (a, b, c, d), each -1, 0 or 1: the stored pixel (x, y) is shown at (a x + c y, b x + d y).
        sample_aspect_ratio: Width of a displayed pixel by its height.
        frame_rate: Exact nominal rate in frames per second (the mean for variable rates).
        time_base: Seconds per tick of the timestamps that ``VideoReader`` yields.
        num_frames: What the container's index promises, or None where only reading tells.
        duration: Seconds, or None.
        start_time: Seconds of the first frame on the timeline of ``time_base``.
        end_time: Seconds at which the last frame's time is over, where the file says so exactly, else None.
        origin: Seconds that were taken off all timestamps (transport streams start at an arbitrary clock).
        clock_steps: How often the clock of the file steps (joined transport streams); times go on over the steps.
        pixel_format: FFmpeg's name of the stored format.
        bit_depth: Significant bits per sample.
        has_alpha: Whether there is transparency.
        field_order: ``progressive``, ``top``, ``bottom`` or ``unknown`` (interlaced, order only in the frames).
        color: Colour tags as found.
        has_timestamps: False where the file carries none (raw streams, images) and the frame rate sets them.
        streams: All streams of the container.
        metadata: Tags of the container.
        chapters: Chapters of the container.
        files: The images of a folder or pattern, in order.
        other_size: (index, width, height) of the first of ``files`` with another size than the first image, as far as
            headers tell; None where all have one size.
        photo: What photos carry beside their samples, e.g. a colour profile.
        num_plays: How often an animation is played, 0 for ever; None where the file does not say.
        notes: What the user should know about the input, one sentence each.
        limits: What the input may ask for; whoever opens it again holds it to the same.
    """

    path: Path
    kind: str
    container: str
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    frame_rate: Fraction
    time_base: Fraction
    pixel_format: str
    bit_depth: int = 8
    rotation: int = 0
    display_matrix: tuple[int, int, int, int] = (1, 0, 0, 1)
    sample_aspect_ratio: Fraction = Fraction(1)
    num_frames: int | None = None
    duration: Fraction | None = None
    start_time: Fraction = Fraction(0)
    end_time: Fraction | None = None
    origin: Fraction = Fraction(0)
    clock_steps: int = 0
    has_alpha: bool = False
    field_order: str = "progressive"
    color: ColorTags = field(default_factory=ColorTags)
    has_timestamps: bool = True
    streams: tuple[StreamInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    files: tuple[Path, ...] = ()
    other_size: tuple[int, int, int] | None = None
    photo: PhotoData = field(default_factory=PhotoData)
    num_plays: int | None = None
    notes: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS

    @property
    def interlaced(self) -> bool:
        """Whether frames hold two fields of different times."""
        return self.field_order != "progressive"

    @property
    def has_audio(self) -> bool:
        """Whether there is at least one audio stream."""
        return any(stream.kind == "audio" for stream in self.streams)

    @property
    def estimated_frames(self) -> int | None:
        """Number of frames as promised, else duration times frame rate (1 at least), else None."""
        if self.num_frames is not None:
            return self.num_frames
        if self.duration is None or self.duration <= 0:
            return None
        return max(1, round(self.duration * self.frame_rate))

    def as_dict(self) -> dict[str, Any]:
        """Flatten to plain JSON types, for ``starvsr info --json`` and provenance records."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "container": self.container,
            "codec": self.codec,
            "width": self.width,
            "height": self.height,
            "rotation": self.rotation,
            "sample_aspect_ratio": str(self.sample_aspect_ratio),
            "frame_rate": str(self.frame_rate),
            "time_base": str(self.time_base),
            "num_frames": self.num_frames,
            "duration": None if self.duration is None else float(self.duration),
            "pixel_format": self.pixel_format,
            "bit_depth": self.bit_depth,
            "has_alpha": self.has_alpha,
            "field_order": self.field_order,
            "color": self.color.describe(),
            "hdr": self.color.is_hdr,
            "color_profile": self.photo.profile_name or None,
            "streams": [vars(stream) for stream in self.streams],
            "chapters": len(self.chapters),
            "metadata": dict(self.metadata),
        }
