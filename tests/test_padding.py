import pytest

from starvsr.errors import OptionError
from starvsr.padding import Padding, minimal_padding, released_padding


@pytest.mark.parametrize("num_downsamples", [0, 1, 2, 3])
@pytest.mark.parametrize("cell_px", [1, 4, 8])
def test_minimal_padding_fits_the_network_and_wastes_less_than_one_step(num_downsamples, cell_px):
    step = 2**num_downsamples
    for height, width in [(1, 1), (15, 17), (16, 64), (240, 426), (719, 1279), (720, 1280), (976, 1728)]:
        padding = minimal_padding(height, width, cell_px=cell_px, num_downsamples=num_downsamples)
        padded_height, padded_width = padding.padded_size(height, width)
        assert padded_height % cell_px == padded_width % cell_px == 0
        assert (padded_height // cell_px) % step == 2 % step
        assert (padded_width // cell_px) % step == 0
        assert 0 <= padded_height - height < step * cell_px
        assert 0 <= padded_width - width < step * cell_px
        assert padding.left == padding.top == 0


def test_a_size_that_fits_is_left_alone():
    assert not minimal_padding(720, 1280, cell_px=8)
    assert not minimal_padding(976, 1728, cell_px=8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((240, 426), Padding(427, 427, 240, 240)),
        ((720, 1280), Padding(0, 0, 0, 0)),
        ((976, 1728), Padding(0, 64, 0, 64)),  # fits already and grows all the same
        ((719, 1300), Padding(0, 44, 0, 1)),
    ],
)
def test_released_padding(size, expected):
    assert released_padding(*size) == expected


def test_scaled_padding_belongs_to_the_enlarged_picture():
    padding = minimal_padding(30, 46, cell_px=1)
    height, width = padding.padded_size(30, 46)
    assert padding.scaled(4).padded_size(120, 184) == (4 * height, 4 * width)


def test_empty_pictures_are_refused():
    with pytest.raises(OptionError):
        minimal_padding(0, 10)
