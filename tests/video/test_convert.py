from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from starvsr.errors import UnreadableInputError
from starvsr.video.convert import from_rgb, resolve_tags, to_rgb
from starvsr.video.info import FULL, LIMITED, ColorTags

KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def reference_codes(rgb: np.ndarray, bits: int, full: bool, matrix: int) -> np.ndarray:
    """float [3, H, W] code values of ITU-T H.273, equations 38 to 43, before rounding."""
    kr, kb = KR_KB[matrix]
    red, green, blue = (rgb[..., i] for i in range(3))
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    pb, pr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    step = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        return np.stack([top * luma, top * pb + 128 * step, top * pr + 128 * step])
    return np.stack([step * (219 * luma + 16), step * (224 * pb + 128), step * (224 * pr + 128)])


def planes(frame: Any) -> list[np.ndarray]:
    dtype = np.uint8 if frame.format.components[0].bits <= 8 else np.uint16
    return [np.frombuffer(p, dtype).reshape(p.height, -1)[:, : p.width] for p in frame.planes]


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("bits", "suffix"), [(8, ""), (10, "10le"), (12, "12le")])
def test_rgb_to_yuv_to_rgb_follows_the_standard(bits: int, suffix: str, full: bool, matrix: int) -> None:
    rng = np.random.default_rng(bits + full + matrix)
    dtype: Any = np.uint8 if bits == 8 else np.uint16
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top + 1, (33, 37, 3)).astype(dtype)
    tags = ColorTags(matrix, FULL if full else LIMITED, 1, 1)
    frame = from_rgb(pixels, f"yuv444p{suffix}", tags)
    wanted = reference_codes(pixels / top, bits, full, matrix).clip(0, 2**bits - 1)
    got = np.stack(planes(frame)).astype(float)
    assert np.abs(got - wanted).max() <= (0.6 if bits == 8 and not full else 0.505)  # swscale | our own
    assert abs((got - wanted).mean()) < 0.05  # rounded, not cut

    back = to_rgb(frame, tags, alpha=False)
    again = from_rgb(back, f"yuv444p{suffix}", tags)
    difference = np.abs(np.stack(planes(again)).astype(int) - np.stack(planes(frame)).astype(int))
    # cut-off colours aside, the round trip stays within one code; swscale's 8-bit path included
    assert difference.max() <= 1
    # rounding three codes moves blue by up to 0.5 * (1 + 2 * (1 - Kb)) codes, 1.17 times that in limited range
    code = top / (2**bits - 1) * (1.0 if full else 255 / 219)
    assert np.abs(back.astype(int) - pixels).max() <= 1.8 * code


@pytest.mark.parametrize("name", ["gray", "gray10le", "gray12le", "gbrp", "gbrp10le", "gbrp12le", "rgb24", "rgb48le"])
@pytest.mark.parametrize("range_", [LIMITED, FULL])
def test_gray_and_rgb_formats_reach_black_and_white(name: str, range_: int) -> None:
    bits = av.VideoFormat(name).components[0].bits
    dtype: Any = np.uint8 if bits <= 8 else np.uint16
    top = np.iinfo(dtype).max
    ramp = np.linspace(0, top, 64).round().astype(dtype)
    pixels = np.repeat(np.broadcast_to(ramp, (8, 64))[..., None], 3, axis=2)
    tags = resolve_tags(ColorTags(1, range_ if name.startswith("gray") else FULL, 1, 1), name, 64, 8)
    frame = from_rgb(pixels, name, tags)
    back = to_rgb(frame, tags, alpha=False)
    assert back.dtype == dtype
    assert int(back.min()) == 0
    assert int(back.max()) == top
    assert np.abs(back.astype(int) - pixels).max() <= 0.6 * top / (2**bits - 1) * (1.0 if range_ == FULL else 1.2) + 1


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv420p10le", "yuv420p12le", "nv12", "p010le", "yuv411p"])
@pytest.mark.parametrize("size", [(64, 48), (61, 47)])
def test_flat_colours_survive_subsampling(name: str, size: tuple[int, int]) -> None:
    bits = av.VideoFormat(name).components[0].bits
    dtype: Any = np.uint8 if bits <= 8 else np.uint16
    top = np.iinfo(dtype).max
    pixels = np.empty((size[1], size[0], 3), dtype)
    pixels[:] = [int(top * share) for share in (0.8, 0.35, 0.1)]
    tags = ColorTags(1, LIMITED, 1, 1)
    back = to_rgb(from_rgb(pixels, name, tags), tags, alpha=False)
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).max() <= 2 * top / (2**bits - 1)


@pytest.mark.parametrize(
    "name", ["yuva444p", "yuva444p10le", "yuva420p", "rgba", "bgra", "gbrap", "gbrap10le", "rgba64le"]
)
def test_alpha_survives(name: str) -> None:
    bits = av.VideoFormat(name).components[0].bits
    dtype: Any = np.uint8 if bits <= 8 else np.uint16
    top = np.iinfo(dtype).max
    pixels = np.full((16, 32, 4), top // 2, dtype)
    pixels[..., 3] = np.linspace(0, top, 32).astype(dtype)
    tags = resolve_tags(ColorTags(1, LIMITED, 1, 1), name, 32, 16)
    back = to_rgb(from_rgb(pixels, name, tags), tags, alpha=True)
    assert np.abs(back[..., 3].astype(int) - pixels[..., 3]).max() <= top / (2**bits - 1)


def test_untagged_matrix_depends_on_size_and_yuvj_is_full() -> None:
    assert resolve_tags(ColorTags(), "yuv420p", 640, 480).matrix == 5
    assert resolve_tags(ColorTags(), "yuv420p", 1280, 720).matrix == 1
    assert resolve_tags(ColorTags(), "yuv420p", 640, 480).range == LIMITED
    assert resolve_tags(ColorTags(), "yuvj420p", 640, 480).range == FULL
    assert resolve_tags(ColorTags(9, FULL), "yuv420p10le", 64, 64).matrix == 9


def test_a_matrix_that_is_not_linear_is_refused() -> None:
    with pytest.raises(UnreadableInputError, match="ictcp"):
        resolve_tags(ColorTags(matrix=14), "yuv420p10le", 64, 64)
