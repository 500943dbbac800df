"""Contracts that every sampler keeps, and the orders of accuracy that set them apart."""

import math

import pytest
import torch

from starvsr.diffusion.samplers import SAMPLERS, ddim, dpmpp_2m_sde, heun, released_start
from starvsr.diffusion.schedules import star_schedule
from starvsr.errors import OptionError

SHAPE = (1, 2, 3, 4, 5)
LEVELS = star_schedule().normal(6)
FROM_NOISE = star_schedule().normal(6, t_max=999)
SPREAD = 0.7  # standard deviation of the toy data below


def noise(i: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(i))


def network_scale(level: float) -> float:
    return 0.0 if math.isinf(level) else 1 / math.sqrt(level**2 + 1)


def gaussian_denoiser(x: torch.Tensor, level: float) -> torch.Tensor:
    """The exact denoiser of data drawn from N(0, SPREAD^2): linear in x."""
    alpha = network_scale(level)
    sigma2 = 1 - alpha**2
    return x * alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma2)


every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=list(SAMPLERS))


@every_sampler
@pytest.mark.parametrize("levels", [LEVELS, FROM_NOISE, star_schedule().normal(1), star_schedule().fast()])
def test_a_known_answer_is_returned_exactly(sampler, levels):
    answer = noise(77)
    result = sampler(lambda x, level: answer, noise(1), levels, noise=noise)
    torch.testing.assert_close(result, answer, atol=1e-6, rtol=0)


@every_sampler
def test_one_step_is_the_clean_estimate_of_the_start(sampler):
    start = noise(1)
    seen = []

    def denoise(x, level):
        seen.append(x)
        return 0.5 * x + level

    levels = star_schedule().normal(1)
    result = sampler(denoise, start, levels, noise=noise)
    torch.testing.assert_close(seen[0], start)
    torch.testing.assert_close(result, 0.5 * start + levels[0])


@every_sampler
@pytest.mark.parametrize("levels", [LEVELS, FROM_NOISE])
def test_the_network_first_sees_the_start_and_each_step_is_reported(sampler, levels):
    seen, reported = [], []

    def denoise(x, level):
        seen.append((x, level))
        return gaussian_denoiser(x, level)

    start = noise(1)
    sampler(denoise, start, levels, noise=noise, on_step=lambda i, n, x0: reported.append((i, n, x0.shape)))
    torch.testing.assert_close(seen[0][0], start)
    assert reported == [(i, 6, start.shape) for i in range(6)]
    assert {level for _, level in seen} == set(levels[:-1].tolist())


@every_sampler
def test_the_result_is_linear_in_start_and_noise(sampler):
    """With a linear denoiser and all noise doubled, the result must double."""
    once = sampler(gaussian_denoiser, noise(1), LEVELS, noise=noise)
    twice = sampler(gaussian_denoiser, 2 * noise(1), LEVELS, noise=lambda i: 2 * noise(i))
    torch.testing.assert_close(twice, 2 * once)
    assert once.shape == SHAPE and once.dtype == torch.float32 and once.isfinite().all()


@every_sampler
def test_stopping_from_on_step_stops(sampler):
    def stop(i, n, x0):
        if i == 2:
            raise KeyboardInterrupt

    calls = []
    with pytest.raises(KeyboardInterrupt):
        sampler(lambda x, level: calls.append(level) or x, noise(1), LEVELS, noise=noise, on_step=stop)
    assert len(calls) <= 5


@pytest.mark.parametrize("sampler", [ddim, heun])
def test_deterministic_samplers_ask_for_no_noise(sampler):
    def refuse(i):
        raise AssertionError("asked for noise")

    sampler(gaussian_denoiser, noise(1), LEVELS, noise=refuse)


def levels_to(lowest: float, count: int) -> torch.Tensor:
    """Logarithmic levels from 20 down to `lowest`, then 0, in float64 so that orders can be seen."""
    steps = torch.linspace(math.log(20), math.log(lowest), count, dtype=torch.float64).exp()
    return torch.cat([steps, torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize(("sampler", "factor"), [(ddim, 1.9), (heun, 3.7)])
def test_halving_the_steps_shows_the_order(sampler, factor):
    """Against the exact solution for Gaussian data; the last step to 0 is part of it."""
    errors = []
    for count in (41, 81):
        levels = levels_to(0.01, count)
        start = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
        state = start * math.sqrt(levels[0] ** 2 + 1)
        last = levels[-2].item()
        along = state * math.sqrt((SPREAD**2 + last**2) / (SPREAD**2 + levels[0] ** 2))
        exact = gaussian_denoiser(along * network_scale(last), last)  # all end with this same last step
        errors.append((sampler(gaussian_denoiser, start, levels, noise=noise) - exact).abs().item())
    assert errors[0] / errors[1] > factor


def final_variance(count: int) -> float:
    """Variance of dpmpp_2m_sde's result over start and noise, exactly: each draw is one basis vector."""
    levels = levels_to(0.002, count)
    basis = torch.eye(count + 1, dtype=torch.float64)
    start = basis[0].view(1, 1, 1, 1, -1) * math.sqrt((levels[0] ** 2 + SPREAD**2) / (levels[0] ** 2 + 1))
    result = dpmpp_2m_sde(gaussian_denoiser, start, levels, noise=lambda i: basis[i + 1].view(1, 1, 1, 1, -1))
    return result.square().sum().item()


def test_the_sde_sampler_draws_from_the_data():
    errors = [abs(final_variance(count) - SPREAD**2) for count in (20, 80)]
    assert errors[1] < 3e-3
    assert errors[1] < errors[0] / 12  # second order: four times the steps, a sixteenth of the error


def test_the_released_start_is_scaled_by_sigma():
    x = noise(1)
    level = LEVELS[0].item()
    torch.testing.assert_close(released_start(x, level), x * star_schedule().sigmas[899])
    assert released_start(x, math.inf) is x


@every_sampler
@pytest.mark.parametrize("levels", [[1.0], [1.0, 0.5], [1.0, 2.0, 0.0], [1.0, 1.0, 0.0]])
def test_step_lists_that_do_not_fall_to_zero_are_refused(sampler, levels):
    with pytest.raises(OptionError):
        sampler(gaussian_denoiser, noise(1), torch.tensor(levels), noise=noise)
