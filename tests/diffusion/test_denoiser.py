import pytest
import torch

from starvsr.diffusion.denoiser import (
    from_velocity,
    guided,
    guided_pair,
    in_interval,
    in_windows,
)
from starvsr.diffusion.schedules import star_schedule
from starvsr.errors import OptionError
from starvsr.windows import blended_windows, released_windows

SCHEDULE = star_schedule()
SHAPE = (2, 3, 4, 5, 6)


def draw(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_velocity_finds_the_clean_latents():
    x0, noise = draw(1), draw(2)
    level = SCHEDULE.level_at(torch.tensor([400.0])).item()
    t = torch.tensor([400, 400])
    x_t = SCHEDULE.add_noise(x0, noise, t)
    velocity = SCHEDULE.velocity(x0, noise, t)
    seen = []

    def predict(x, t):
        seen.append(t)
        return velocity

    torch.testing.assert_close(from_velocity(predict, SCHEDULE)(x_t, level), x0, atol=1e-5, rtol=1e-5)
    assert seen[0].tolist() == [400, 400] and seen[0].dtype == torch.int64


def test_a_half_precision_network_does_not_lower_the_state():
    denoise = from_velocity(lambda x, t: x.half(), SCHEDULE)
    assert denoise(draw(1), 2.0).dtype == torch.float32


def test_guidance_of_one_calls_the_network_once():
    calls = []

    def network(x, t):
        calls.append(t)
        return x

    def never(x, t):
        raise AssertionError("called without need")

    predict = guided(network, never, scale=1)
    predict(draw(1), torch.tensor([5, 5]))
    assert len(calls) == 1
    assert guided(network, None, scale=1.0) is network


def test_guidance_without_negative_prompt_is_refused():
    with pytest.raises(OptionError, match="negative prompt"):
        guided(lambda x, t: x, None, scale=7.5)
    with pytest.raises(OptionError, match="rescale"):
        guided(lambda x, t: x, lambda x, t: x, scale=7.5, rescale=1.5)


def test_full_rescale_restores_the_spread_of_each_item():
    positive, negative = draw(1) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1), draw(2)
    t = torch.tensor([5, 5])
    predict = guided(lambda x, t: positive, lambda x, t: negative, scale=7.5, rescale=1.0)
    spread = predict(draw(3), t).flatten(1).std(1)
    torch.testing.assert_close(spread, positive.flatten(1).std(1))
    plain = guided(lambda x, t: positive, lambda x, t: negative, scale=7.5, rescale=None)(draw(3), t)
    torch.testing.assert_close(plain, negative + 7.5 * (positive - negative))


def test_a_pair_from_one_call_is_guided_like_two_calls():
    positive, negative, t = draw(1), draw(2), torch.tensor([5, 5])
    two = guided(lambda x, t: positive, lambda x, t: negative, scale=7.5)(draw(3), t)
    assert torch.equal(guided_pair(lambda x, t: (positive, negative), scale=7.5)(draw(3), t), two)
    with pytest.raises(OptionError, match="rescale"):
        guided_pair(lambda x, t: (x, x), scale=7.5, rescale=-0.1)


def test_an_interval_of_timesteps_takes_its_own_denoiser():
    seen = []

    def named(name):
        return lambda x, level: seen.append(name) or x

    denoise = in_interval(named("inside"), named("outside"), SCHEDULE, (200, 600))
    for t in (899.0, 601.0, 600.0, 600.4, 400.0, 200.0, 199.0, 0.0):
        denoise(draw(1), SCHEDULE.level_at(torch.tensor([t])).item())
    assert seen == ["outside"] * 2 + ["inside"] * 4 + ["outside"] * 2


@pytest.mark.parametrize("blend", ["cut", "linear", "cosine"])
@pytest.mark.parametrize("place", [blended_windows, released_windows])
@pytest.mark.parametrize("num_frames", [1, 7, 8, 9, 10, 11, 24, 31])
def test_windows_of_a_frame_wise_network_change_nothing(place, num_frames, blend):
    windows = place(num_frames, 8)
    control = draw(5, (1, 3, num_frames, 4, 4))

    def denoise_for(window):
        part = control[:, :, window.start : window.stop]
        return lambda x, level: 0.5 * x + part * level

    x = draw(6, control.shape)
    x0 = in_windows(denoise_for, windows, blend=blend)(x, 1.5)
    torch.testing.assert_close(x0, 0.5 * x + control * 1.5)


def test_hard_cuts_take_each_frame_from_one_window():
    windows = released_windows(11, 4)
    x0 = in_windows(lambda window: lambda x, level: torch.full_like(x, windows.index(window)), windows, blend="cut")(
        torch.zeros(1, 1, 11, 1, 1), 1.0
    )
    assert x0.flatten().tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]


def test_blending_moves_smoothly_from_window_to_window():
    windows = blended_windows(60, 16)
    x0 = in_windows(lambda window: lambda x, level: torch.full_like(x, windows.index(window)), windows)(
        torch.zeros(1, 1, 60, 1, 1), 1.0
    ).flatten()
    steps = x0.diff()
    assert steps.min() > -1e-6 and steps.max() < 0.3  # a quarter of 16 frames: no jump
    assert x0[0] == 0 and x0[-1] == len(windows) - 1


def test_one_window_is_passed_through_as_it_is():
    def denoise(x, level):
        return x

    assert in_windows(lambda window: denoise, released_windows(40, 32)) is denoise


def test_windows_of_another_length_are_refused():
    denoise = in_windows(lambda window: lambda x, level: x, blended_windows(60, 16))
    with pytest.raises(OptionError, match="60 frames"):
        denoise(torch.zeros(1, 1, 59, 1, 1), 1.0)
