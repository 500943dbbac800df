import pytest
import torch

from starvsr.errors import OptionError
from starvsr.imaging.color import adain, wavelet, wavelet_split


def clip(seed, size=(24, 32), num_frames=3, spread=0.2):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 3, num_frames, *size, generator=generator) * spread).clamp(-1, 1)


def test_adain_gives_each_frame_the_mean_and_spread_of_the_source():
    target, source = clip(1) * 0.5 + 0.3, clip(2, (6, 8))
    matched = adain(target, source)
    torch.testing.assert_close(matched.mean((-2, -1)), source.mean((-2, -1)), atol=2e-3, rtol=0)
    torch.testing.assert_close(matched.std((-2, -1)), source.std((-2, -1)), atol=2e-3, rtol=0)
    assert matched.shape == target.shape


def test_adain_keeps_what_already_fits():
    target = clip(1)
    torch.testing.assert_close(adain(target, target), target, atol=1e-6, rtol=0)


def test_adain_stays_in_range_and_survives_flat_pictures():
    flat = torch.full((1, 3, 2, 4, 4), 0.5)
    assert adain(flat, flat).sub(flat).abs().max() < 1e-6
    assert adain(clip(1, spread=1), clip(2, spread=3)).abs().max() <= 1
    pixel = torch.full((1, 3, 2, 1, 1), 0.25)
    torch.testing.assert_close(adain(flat, pixel), torch.full_like(flat, 0.25))


def test_wavelet_parts_sum_to_the_picture():
    picture = clip(1)[0].transpose(0, 1)
    high, low = wavelet_split(picture)
    torch.testing.assert_close(high + low, picture)
    assert low.std() < 0.2 * picture.std()


def test_wavelet_takes_colour_from_the_source_and_detail_from_the_target():
    target = clip(1, spread=0.1)
    source = torch.full_like(target, 0.4)
    matched = wavelet(target, source)
    high, _ = wavelet_split(target[0].transpose(0, 1))
    torch.testing.assert_close(matched[0].transpose(0, 1), high + 0.4, atol=1e-5, rtol=0)


def test_clips_that_do_not_belong_together_are_refused():
    with pytest.raises(OptionError):
        adain(clip(1), clip(2, num_frames=2))
    with pytest.raises(OptionError, match="enlarge"):
        wavelet(clip(1), clip(2, (6, 8)))
