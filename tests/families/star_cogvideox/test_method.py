"""Schedule, guidance and sampler by numbers that follow from their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from starvsr.errors import OptionError
from starvsr.families.star_cogvideox.guidance import CURVES, GuidanceCurve
from starvsr.families.star_cogvideox.noise import ReleasedNoise, frame_noise
from starvsr.families.star_cogvideox.sampling import denoiser, dpmpp_2m
from starvsr.families.star_cogvideox.schedule import CogVideoXSchedule, Step


def test_the_steps_begin_with_noise_alone_and_end_clean():
    for count in (1, 2, 7, 50, 1000):
        steps = CogVideoXSchedule().steps(count)
        assert steps.alphas[0] == 0 and steps.alphas[-1] == 1 and (steps.alphas.diff() > 0).all()
        assert steps.timesteps[0] == 999 and len(steps) == len(list(steps)) == count
    for count in (0, 1001):
        with pytest.raises(OptionError, match="--steps must lie in 1 to 1000"):
            CogVideoXSchedule().steps(count)


def test_the_stretch_is_of_the_chosen_steps_and_not_of_the_table():
    steps, table = CogVideoXSchedule().steps(10), CogVideoXSchedule().table()
    difference = (steps.alphas[1:-1] - table[steps.timesteps[1:]]).abs()
    assert difference.max() > 1e-3
    assert ((steps.known[:, None] == table).any(1)).all()


def test_the_shift_of_the_2b_divides_the_signal_to_noise_ratio():
    plain, shifted = (CogVideoXSchedule(shift)._signal() ** 2 for shift in (1.0, 3.0))
    torch.testing.assert_close(plain / (1 - plain) / 3, shifted / (1 - shifted))


def test_the_smooth_guidance_rises_whatever_the_steps():
    for count in (5, 20, 50):
        steps = list(CogVideoXSchedule().steps(count))
        weights = [GuidanceCurve(7, "smooth").at(step, count) for step in steps]
        assert weights == sorted(weights) and weights[0] == 1 and weights[-1] <= 7
        assert [GuidanceCurve(3, "constant").at(step, count) for step in steps] == [3] * count
    released = [GuidanceCurve().at(step, 50) for step in CogVideoXSchedule().steps(50)]
    assert released != sorted(released) and min(released) >= 1 and max(released) <= 7


@pytest.mark.parametrize("form", CURVES)
def test_the_pass_without_prompt_is_left_out_where_it_has_no_weight(form):
    steps = CogVideoXSchedule().steps(50)
    for largest in (1.0, 7.0):
        curve, asked = GuidanceCurve(largest, form), []

        def velocity(x, timestep, with_prompt, asked=asked):
            asked.append((timestep, with_prompt))
            return torch.zeros_like(x)

        denoise = denoiser(velocity, steps, curve)
        for index in range(50):
            denoise(torch.zeros(1, 1, 1, 2, 2), index)
        needed = sum(abs(curve.at(step, 50) - 1) >= 1e-5 for step in steps)
        assert sum(not with_prompt for _, with_prompt in asked) == needed == (0 if largest == 1 else needed)
        assert sum(with_prompt for _, with_prompt in asked) == 50
    if form == "released":
        assert {t for t in (59, 39) if (t, False) not in asked} == {59, 39}


def test_guidance_goes_beyond_the_prompt():
    steps = CogVideoXSchedule().steps(4)
    curve = GuidanceCurve(3.0, "constant")
    denoise = denoiser(lambda x, t, p: torch.full_like(x, -1.0 if p else 1.0), steps, curve)
    step = list(steps)[2]
    spread = math.sqrt(1 - step.known**2)
    without, conditional = -spread, spread
    torch.testing.assert_close(
        denoise(torch.zeros(1, 1, 1, 2, 2), 2), torch.full((1, 1, 1, 2, 2), without + 3 * (conditional - without))
    )


def test_a_network_that_knows_the_answer_gives_it_in_any_number_of_steps():
    clean = torch.linspace(-1, 1, 8).view(1, 2, 1, 2, 2)
    for count in (1, 2, 5):
        steps, asked = CogVideoXSchedule().steps(count), []

        def noise(index, asked=asked):
            asked.append(index)
            return torch.ones_like(clean)

        made = dpmpp_2m(lambda x, index: clean, torch.randn(clean.shape), steps, noise=noise)
        assert torch.equal(made, clean) and asked == list(range(count - 1))


def test_the_states_have_the_variance_of_their_level():
    torch.manual_seed(0)
    steps, states = CogVideoXSchedule().steps(8), []

    def denoise(x, index):
        states.append(x.std().item())
        return torch.zeros_like(x)

    dpmpp_2m(denoise, torch.randn(1, 1, 1, 200, 200), steps, noise=lambda i: torch.randn(1, 1, 1, 200, 200))
    for state, step in zip(states, steps, strict=True):
        assert state == pytest.approx(math.sqrt(1 - step.alpha**2), rel=0.02)


def test_latent_frames_keep_their_noise_in_clips_that_begin_a_multiple_of_four_later():
    cpu = torch.device("cpu")
    whole = frame_noise((1, 2, 6, 3, 4), seed=5, first_frame=0, device=cpu)
    later = frame_noise((1, 2, 4, 3, 4), seed=5, first_frame=8, device=cpu)
    for purpose in ("start", "vae", 3):
        assert torch.equal(whole(purpose)[:, :, 2:], later(purpose))
    assert not torch.equal(whole("start"), whole("vae"))


def test_the_released_noise_skips_a_draw_in_every_step_but_the_first():
    shape, cpu = (1, 2, 3, 4, 4), torch.device("cpu")
    source, generator = ReleasedNoise(shape, seed=9, device=cpu), torch.Generator().manual_seed(9)
    assert torch.equal(source("vae"), torch.randn(shape, generator=generator))
    draws = [torch.randn(1, 3, 2, 4, 4, generator=generator).transpose(1, 2) for _ in range(5)]
    for _ in range(2):  # and sampling may begin again
        assert (
            torch.equal(source(0), draws[0]) and torch.equal(source(1), draws[2]) and torch.equal(source(2), draws[4])
        )


def test_one_step_is_described():
    (step,) = CogVideoXSchedule().steps(1)
    assert step == Step(0, 999, 0.0, 1.0, 0.0)
