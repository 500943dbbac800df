import torch

from starvsr.families.stablevsr.warp import published_warp, warp


def picture(height=7, width=10):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_no_flow_changes_nothing():
    frames = picture()
    torch.testing.assert_close(warp(frames, torch.zeros(1, 2, 7, 10)), frames, atol=1e-5, rtol=0)


def test_a_whole_pixel_is_taken_from_where_the_flow_points():
    frames, flow = picture(), torch.zeros(1, 2, 7, 10)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = warp(frames, flow)
    torch.testing.assert_close(moved[..., 1:, :8], frames[..., :6, 2:], atol=1e-5, rtol=0)
    assert float(moved[..., 0, :].abs().max()) < 1e-5 and float(moved[..., 8:].abs().max()) < 1e-5  # outside


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
