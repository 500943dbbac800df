import pytest
import torch

from starvsr.errors import OptionError
from starvsr.imaging.frames import crop, enlarge, pad_reflect, pad_white, to_byte_range, truncate_to_bytes
from starvsr.padding import Padding, minimal_padding


def ramp(height, width):
    return torch.arange(height * width, dtype=torch.float32).view(1, 1, 1, height, width)


@pytest.mark.parametrize("pad", [pad_white, pad_reflect])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7)])
@pytest.mark.parametrize("padding", [Padding(), Padding(right=9, bottom=11), Padding(3, 5, 2, 4)])
def test_crop_undoes_padding_of_any_width(pad, size, padding):
    pixels = ramp(*size)
    padded = pad(pixels, padding)
    assert padded.shape[-2:] == padding.padded_size(*size)
    assert torch.equal(crop(padded, padding), pixels)


def test_reflection_repeats_no_edge_pixel_and_bounces():
    row = pad_reflect(ramp(1, 3), Padding(left=3, right=4)).flatten().tolist()
    assert row == [1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


def test_reflection_agrees_with_torch_where_torch_can():
    pixels = ramp(6, 7)[0]
    expected = torch.nn.functional.pad(pixels, (2, 3, 1, 4), mode="reflect")
    assert torch.equal(pad_reflect(pixels, Padding(2, 3, 1, 4)), expected)


def test_white_is_white():
    padded = pad_white(torch.zeros(1, 3, 1, 2, 2), Padding(right=1))
    assert padded[..., -1].unique().item() == 1


def test_enlarge_gives_exact_sizes_and_keeps_flat_colour():
    pixels = torch.full((2, 3, 4, 5, 7), 0.25)
    assert enlarge(pixels, 20, 28).shape == (2, 3, 4, 20, 28)
    torch.testing.assert_close(enlarge(pixels, 11, 13), torch.full((2, 3, 4, 11, 13), 0.25))


def test_network_sizes_fit_after_padding():
    padding = minimal_padding(30, 46, cell_px=1)
    assert pad_reflect(ramp(30, 46), padding).shape[-2:] == (34, 48)


def test_bytes_are_cut_not_rounded_in_the_exact_mode():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 5.0])
    assert truncate_to_bytes(pixels).tolist() == [0, 0, 127, 254, 255, 255]
    assert to_byte_range(pixels)[2] == 127.5


def test_cropping_everything_is_refused():
    with pytest.raises(OptionError):
        crop(ramp(4, 4), Padding(left=2, right=2))
