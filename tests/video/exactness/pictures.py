"""Pictures whose every sample is known: drawn as red, green, blue or luma and chroma, stored without loss.

The arithmetic is that of ITU-T H.273 in double precision, written here once more and apart from the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st

from tests.video.exactness.clips import Clip, ClipFile, Tags
from tests.video.exactness.strategies import TARGETS, Target, even, sides

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
FORMATS = {
    "ffv1": [
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "yuv440p",
        "yuv410p",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
        "yuv420p12le",
        "yuv422p12le",
        "yuv444p12le",
        "yuv444p9le",
        "yuv444p14le",
        "yuv444p16le",
        "gray",
        "gray10le",
        "gray12le",
        "gray16le",
        "gbrp10le",
        "gbrp12le",
        "gbrp14le",
        "gbrp16le",
        "gbrap10le",
        "gbrap12le",
        "yuva420p",
        "yuva444p",
        "yuva420p10le",
        "yuva444p10le",
        "yuva444p12le",
    ],
    "libx264": ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray", "gray10le"],
    "libx265": ["yuv444p12le", "yuv420p12le", "yuv422p12le", "gbrp", "gbrp10le", "gbrp12le", "gray12le"],
    "png": ["rgb24", "rgba"],
}
PACKED = {"rgb24": "rgb", "rgba": "rgba", "bgr0": "bgr?", "bgra": "bgra"}


@dataclass(frozen=True)
class Scene:
    """A picture to be sent through.

    Attributes:
        clip: How it is stored.
        content: ``noise``, ``smooth``, ``neutral`` or ``flat``.
        seed: Of the content.
        target: Where it goes.
    """

    clip: Clip
    content: str
    seed: int
    target: Target

    @property
    def fmt(self) -> Any:
        """The pixel format, as PyAV describes it."""
        return av.VideoFormat(self.clip.pix_fmt)

    @property
    def bits(self) -> int:
        """Bits per sample."""
        return int(self.fmt.components[0].bits)

    @property
    def is_rgb(self) -> bool:
        """Whether samples are red, green and blue."""
        return self.clip.pix_fmt.startswith(("gb", "rgb"))

    @property
    def has_alpha(self) -> bool:
        """Whether there is transparency."""
        return any(part.is_alpha for part in self.fmt.components)

    @property
    def is_subsampled(self) -> bool:
        """Whether chroma has fewer samples than luma."""
        return (
            not self.is_rgb
            and len(self.fmt.components) >= 3
            and plane_shapes(self.clip)[1] != plane_shapes(self.clip)[0]
        )


def plane_shapes(clip: Clip) -> list[tuple[int, int]]:
    """Give [rows, samples in a row] of each plane as stored."""
    frame = av.VideoFrame(clip.width, clip.height, clip.pix_fmt)
    return [(plane.height, plane.width * len(PACKED.get(clip.pix_fmt, "?"))) for plane in frame.planes]


def draw_planes(scene: Scene, number: int) -> list[np.ndarray]:
    """Draw one frame: luma and chroma inside the colours that RGB has, or red, green, blue; then alpha."""
    clip, bits = scene.clip, scene.bits
    chance = np.random.default_rng([scene.seed, number])
    height, width = clip.height, clip.width
    full = clip.tags.range == 2
    top = (1 << bits) - 1
    alpha = [np.rint(chance.random((height, width)) * top)] if scene.has_alpha else []
    if scene.is_rgb:
        planes = [np.rint(chance.random((height, width)) * top) for _ in range(3)] + alpha
        return [plane.astype(np.uint32) for plane in planes]
    luma, blue, red = _luma_and_chroma(scene, chance)
    step = 1 << max(bits - 8, 0)
    planes = [luma * top if full else luma * 219 * step + 16 * step]
    if len(scene.fmt.components) >= 3:
        scale = top if full else 224 * step
        shape = plane_shapes(clip)[1]
        planes += [_shrink(part, shape) * scale + 128 * step for part in (blue, red)]
    return [np.rint(plane).astype(np.uint32) for plane in [*planes, *alpha]]


def _luma_and_chroma(scene: Scene, chance: np.random.Generator) -> list[np.ndarray]:
    """Give luma in 0..1 and both chroma in -0.5..0.5 of one frame."""
    height, width = scene.clip.height, scene.clip.width
    if scene.content == "neutral":
        return [chance.random((height, width)), np.zeros((height, width)), np.zeros((height, width))]
    if scene.content == "flat":
        luma, blue, red = 0.35 + 0.3 * chance.random(), *(0.2 * chance.random(2) - 0.1)
        return [np.full((height, width), value) for value in (luma, blue, red)]
    if scene.content == "noise" and not scene.is_subsampled:
        red, green, blue = 0.03 + 0.94 * chance.random((3, height, width))
        kr, kb = KR_KB[scene.clip.tags.matrix]
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        return [luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
    y, x = np.mgrid[0:height, 0:width] / 256
    phase, slope = chance.random(6) * 6, 1 + chance.random(4)
    luma = 0.35 + 0.3 * chance.random((height, width))
    blue = 0.12 * np.sin(slope[0] * x + slope[1] * y + phase[0])
    red = 0.12 * np.cos(slope[2] * x - slope[3] * y + phase[1])
    return [luma, blue, red]


def rgb_of(codes: list[float], tags: Tags, bits: int) -> np.ndarray:
    """Give red, green and blue (0..255) of luma, blue and red difference in codes of ``bits`` bits."""
    top, step = (1 << bits) - 1, 1 << (bits - 8)
    full = tags.range == 2
    luma = codes[0] / top if full else (codes[0] - 16 * step) / (219 * step)
    blue, red = ((code - 128 * step) / (top if full else 224 * step) for code in codes[1:3])
    kr, kb = KR_KB[tags.matrix]
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return 255 * np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b])


def _shrink(part: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sample chroma where its positions are taken to lie: in the middle of the luma samples that it stands for."""
    if part.shape == shape:
        return part
    down, across = -(-part.shape[0] // shape[0]), -(-part.shape[1] // shape[1])
    padded = np.pad(part, ((0, shape[0] * down - part.shape[0]), (0, shape[1] * across - part.shape[1])), mode="edge")
    return padded.reshape(shape[0], down, shape[1], across).mean((1, 3))


def write_scene(folder: Path, scene: Scene) -> Path:
    """Store the frames of a scene without loss."""
    path = folder / f"in{scene.clip.suffix}"
    with ClipFile(path, scene.clip, lossless=True) as file:
        file.write_video(_frames(scene))
    return path


def _frames(scene: Scene) -> Iterator[Any]:
    dtype = np.uint8 if scene.bits == 8 else np.uint16
    for number in range(len(scene.clip.pts)):
        frame = av.VideoFrame(scene.clip.width, scene.clip.height, scene.clip.pix_fmt)
        drawn = store(draw_planes(scene, number), scene.clip.pix_fmt)
        for plane, samples in zip(frame.planes, drawn, strict=True):
            rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
            rows[:, : samples.shape[1]] = samples
        frame.color_range = scene.clip.tags.range
        frame.colorspace = 0 if scene.is_rgb else scene.clip.tags.matrix
        yield frame


def store(channels: list[np.ndarray], pix_fmt: str) -> list[np.ndarray]:
    """Lay red, green, blue as the pixel format has them; others stay."""
    if pix_fmt in PACKED:
        named = dict(zip("rgba", channels, strict=False)) | {"?": channels[0]}
        packed = np.stack([named[name] for name in PACKED[pix_fmt]], -1)
        return [packed.reshape(packed.shape[0], -1)]
    return [channels[1], channels[2], channels[0], *channels[3:]] if pix_fmt.startswith("gb") else channels


def fetch(planes: list[np.ndarray], pix_fmt: str) -> list[np.ndarray]:
    """Undo ``store``."""
    if pix_fmt in PACKED:
        names = PACKED[pix_fmt]
        split = planes[0].reshape(planes[0].shape[0], -1, len(names))
        return [split[..., names.index(name)] for name in "rgba" if name in names]
    return [planes[2], planes[0], planes[1], *planes[3:]] if pix_fmt.startswith("gb") else planes


def split_planes(raw: bytes, clip: Clip, pix_fmt: str) -> list[list[np.ndarray]]:
    """Cut FFmpeg's raw video into frames of planes, red, green, blue in this order."""
    shapes = plane_shapes(replace(clip, pix_fmt=pix_fmt))
    bits = av.VideoFormat(pix_fmt).components[0].bits
    samples = np.frombuffer(raw, np.uint8 if bits == 8 else "<u2").astype(np.int64)
    frames, at = [], 0
    while at < len(samples):
        planes = []
        for rows, length in shapes:
            planes.append(samples[at : at + rows * length].reshape(rows, length))
            at += rows * length
        frames.append(fetch(planes, pix_fmt))
    return frames


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a pixel format, a matrix, a range and a content, kept without loss in the same format."""
    codec = draw(st.sampled_from(sorted(FORMATS)))
    pix_fmt = draw(st.sampled_from(FORMATS[codec]))
    is_rgb, is_gray = pix_fmt.startswith(("gb", "rgb")), pix_fmt.startswith("gray")
    matrix = 0 if is_rgb else draw(st.sampled_from(sorted(KR_KB)))
    range_ = 2 if is_rgb else draw(st.sampled_from([1, 2]))
    least = 64 if codec == "libx265" else 16
    width, height = draw(sides(least, 160)), draw(sides(least, 160))
    if codec in ("libx264", "libx265") and "420" in pix_fmt:
        width, height = width + width % 2, height + height % 2
    elif pix_fmt == "yuv410p":  # FFV1 leaves its last chroma column empty else
        width, height = 4 * -(-width // 4), 4 * -(-height // 4)
    elif codec in ("libx264", "libx265") and "422" in pix_fmt:
        width += width % 2
    transfer, primaries = draw(st.sampled_from([(1, 1), (13, 1), (6, 6), (14, 9), (16, 9), (18, 9), (2, 2)]))
    clip = Clip(
        suffix=".mov" if codec == "png" else ".mkv",
        codec=codec,
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        time_base=Fraction(1, 1000),
        pts=tuple(40 * index for index in range(draw(st.integers(1, 3)))),
        tags=Tags(matrix, range_, primaries, transfer),
    )
    content = "neutral" if is_gray else draw(st.sampled_from(["noise", "smooth", "neutral"]))
    stored = {"gbrp": "bgr0", "rgb24": "bgr0", "rgba": "bgra"}.get(pix_fmt, pix_fmt)
    if codec == "libx264" and pix_fmt == "gray10le":
        stored = "yuv420p10le"  # what FFmpeg's decoder makes of it; gray itself has all codes
    targets = [Target("out.mkv", (("codec", "ffv1"), ("pixel_format", stored)))]
    if codec == "libx264" and not pix_fmt.endswith("10le"):
        targets.append(
            Target("out.mp4", (("codec", "h264"), ("crf", 0), ("pixel_format", pix_fmt), ("preset", "ultrafast")))
        )
    return Scene(clip, content, draw(st.integers(0, 1 << 16)), draw(st.sampled_from(targets)))


@st.composite
def flat_scenes(draw: st.DrawFn) -> Scene:
    """Draw a colour, how it is coded, and an output of any codec."""
    target = draw(st.sampled_from([*TARGETS, Target("out.mkv", (("codec", "av1"), ("preset", "12")), least=64)]))
    codec, pix_fmt = draw(
        st.sampled_from([("ffv1", "yuv444p"), ("libx264", "yuv420p"), ("ffv1", "yuv422p10le"), ("ffv1", "yuv444p12le")])
    )
    transfer, primaries = draw(st.sampled_from([(1, 1), (13, 1), (6, 6), (14, 9), (16, 9), (18, 9)]))
    clip = Clip(
        codec=codec,
        pix_fmt=pix_fmt,
        width=even(draw(sides(max(16, target.least), 96))),
        height=even(draw(sides(max(16, target.least), 96))),
        time_base=Fraction(1, 1000),
        pts=(0, 40),
        tags=Tags(draw(st.sampled_from([1, 5, 6, 9])), draw(st.sampled_from([1, 2])), primaries, transfer),
    )
    return Scene(clip, "flat", draw(st.integers(0, 1 << 16)), target)
