from __future__ import annotations

import numpy as np
import pytest
import torch

from starvsr.degradation.compression import (
    CodecDraw,
    CodecRange,
    apply_codec,
    draw_codec,
    from_bytes,
    jpeg,
    jpeg_factor,
    to_bytes,
)


def gradient(num_frames: int = 1, height: int = 40, width: int = 56) -> torch.Tensor:
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    texture = 0.5 + 0.4 * torch.sin(rows * 40) * torch.cos(columns * 50)
    picture = torch.stack([rows.expand(height, width), columns.expand(height, width), texture])
    return picture.expand(num_frames, 3, height, width).contiguous()


def error(first: torch.Tensor, second: torch.Tensor) -> float:
    return (first - second).square().mean().item()


def test_jpeg_factor_follows_the_libjpeg_rule() -> None:
    assert jpeg_factor(25) == 2.0
    assert jpeg_factor(50) == 1.0
    assert jpeg_factor(75) == 0.5


@pytest.mark.parametrize("size", [(40, 56), (33, 47), (8, 8), (1, 1)])
def test_jpeg_keeps_size_and_range(size: tuple[int, int]) -> None:
    coded = jpeg(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)), 40.0)
    assert coded.shape == (2, 3, *size)
    assert coded.min() >= 0 and coded.max() <= 1


def test_jpeg_loses_more_at_lower_quality() -> None:
    picture = gradient()
    losses = [error(jpeg(picture, quality), picture) for quality in (95.0, 60.0, 30.0, 5.0)]
    assert losses == sorted(losses) and losses[0] < losses[-1]


def test_jpeg_leaves_flat_grey_alone() -> None:
    grey = torch.full((1, 3, 32, 32), 128 / 255)
    torch.testing.assert_close(jpeg(grey, 10.0), grey, atol=1e-6, rtol=0)


def test_bytes_round_trip() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    clip = from_bytes(pixels)
    assert clip.shape == (2, 3, 5, 7)
    np.testing.assert_array_equal(to_bytes(clip), pixels)


def test_codec_lead_in_changes_the_coding_but_not_the_length() -> None:
    clip = gradient(3)
    draw = CodecDraw("libx264", 35, None, "veryfast", 250, True)
    plain, led = apply_codec(clip, draw), apply_codec(clip, draw, phase=4)
    assert plain.shape == led.shape == clip.shape
    assert not torch.equal(plain, led)


def test_bit_rate_follows_bits_per_pixel() -> None:
    clip = gradient(6, 64, 96) + 0.1 * torch.rand(6, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    clip = clip.clamp(0, 1)
    poor, rich = (apply_codec(clip, CodecDraw("libx264", None, bits, "veryfast", 250, True)) for bits in (0.05, 3.0))
    assert error(poor, clip) > 1.5 * error(rich, clip)


def test_codec_draws_stay_in_their_ranges() -> None:
    rng = np.random.default_rng(0)
    ranges = (
        CodecRange("libx264", 3.0, (20, 22), (0.1, 0.2), 0.5, ("ultrafast",), 0.5),
        CodecRange("mpeg4", 1.0, (3, 4)),
    )
    draws = [draw_codec(rng, ranges, 0.8) for _ in range(1000)]
    present = [draw for draw in draws if draw is not None]
    assert len(present) / 1000 == pytest.approx(0.8, abs=0.04)
    assert np.mean([draw.codec == "libx264" for draw in present]) == pytest.approx(0.75, abs=0.05)
    for draw in present:
        assert (draw.crf is None) != (draw.bits_per_pixel is None)
        assert draw.crf is None or draw.crf in ({20, 21, 22} if draw.codec == "libx264" else {3, 4})
        assert draw.bits_per_pixel is None or 0.1 <= draw.bits_per_pixel <= 0.2
        assert draw.preset == ("ultrafast" if draw.codec == "libx264" else None)
    assert {draw.deblock for draw in present} == {True, False}
    assert draw_codec(rng, (), 1.0) is None
