import torch

from starvsr.families.stablevsr.warp import published_warp


def picture(height=7, width=10):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_a_flow_is_followed_from_the_place_that_the_published_grid_gives_a_pixel():
    """A ramp tells where each pixel was read: (x + flow) * W / (W - 1) - 0.5."""
    width = 9
    ramp = torch.arange(width, dtype=torch.float32).expand(1, 1, 5, width)
    flow = torch.zeros(1, 2, 5, width)
    flow[:, 0] = 2
    read = published_warp(ramp, flow)[0, 0, 2]
    expected = (torch.arange(width) + 2) * width / (width - 1) - 0.5
    torch.testing.assert_close(read[:6], expected[:6], atol=1e-5, rtol=0)
    assert float(read[8]) == 0  # beyond the picture


def test_the_published_warp_samples_half_a_pixel_outwards_at_the_edges():
    """A ramp tells where each pixel was read: x * W / (W - 1) - 0.5."""
    width = 9
    ramp = torch.arange(width, dtype=torch.float32).expand(1, 1, 5, width)
    read = published_warp(ramp, torch.zeros(1, 2, 5, width))[0, 0, 2]
    expected = torch.arange(width) * width / (width - 1) - 0.5
    torch.testing.assert_close(read[1:-1], expected[1:-1], atol=1e-5, rtol=0)
    assert float(read[-1]) == 4.0  # half of the last pixel, half of nothing


def test_a_single_row_is_no_division_by_zero():
    row = picture(1, 9)
    assert published_warp(row, torch.zeros(1, 2, 1, 9)).isfinite().all()
