import math

import pytest
import torch

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.errors import OptionError

LATENTS = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "clip_sample": False, "steps_offset": 1}


def ddpm(**changed):
    return DDPM(DDPMConfig.from_json({**LATENTS, **changed}))


def schedule_of(scheduler):
    abar = scheduler.alphas_cumprod
    return NoiseSchedule(abar.sqrt(), (1 - abar).sqrt())


def drawn(*names):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 4, 5, 6, generator=generator) for _ in names]


def test_fifty_steps_begin_where_the_published_scheduler_does():
    pairs = ddpm().timesteps(50)
    assert pairs[:2] == [(981, 961), (961, 941)] and pairs[-1] == (1, -19)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50, 999])
def test_timesteps_fall_and_stay_in_the_schedule(spacing, count):
    chosen = [t for t, _ in ddpm(timestep_spacing=spacing).timesteps(count)]
    assert len(chosen) == count and chosen == sorted(set(chosen), reverse=True)
    assert 0 <= chosen[-1] <= chosen[0] < 1000


def test_more_steps_than_the_offset_leaves_room_for_are_refused():
    with pytest.raises(OptionError, match="begin at timestep 1000"):
        ddpm().timesteps(1000)
    with pytest.raises(OptionError, match="1 to 1000"):
        ddpm().timesteps(0)


@pytest.mark.parametrize("chosen", [[], [5, 5], [3, 4], [1000, 3], [4, -1]])
def test_custom_timesteps_must_fall_within_the_schedule(chosen):
    with pytest.raises(OptionError, match="must fall"):
        ddpm().custom_timesteps(chosen)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_perfect_prediction_gives_the_clean_sample(prediction):
    scheduler = ddpm(prediction_type=prediction)
    x0, noise = drawn("x0", "noise")
    t = torch.tensor([400, 400])
    x = schedule_of(scheduler).add_noise(x0, noise, t)
    perfect = {"epsilon": noise, "sample": x0, "v_prediction": schedule_of(scheduler).velocity(x0, noise, t)}[
        prediction
    ]
    torch.testing.assert_close(scheduler.clean(perfect, x, 400), x0, atol=1e-4, rtol=0)


def test_a_step_keeps_the_statistics_of_the_schedule():
    """From x_t of a known x0 the sample at the earlier timestep has that timestep's mean and variance."""
    scheduler = ddpm()
    generator = torch.Generator().manual_seed(0)
    x0 = torch.full((200_000,), 0.7)
    x = schedule_of(scheduler).add_noise(x0, torch.randn(x0.shape, generator=generator), torch.tensor(600).expand(1))
    earlier = scheduler.step(x0, x, 600, 300, torch.randn(x0.shape, generator=generator))
    abar = float(scheduler.alphas_cumprod[300])
    assert float(earlier.mean()) == pytest.approx(0.7 * math.sqrt(abar), abs=0.01)
    assert float(earlier.var()) == pytest.approx(1 - abar, rel=0.02)


def test_the_last_step_gives_the_clean_estimate():
    scheduler = ddpm()
    x0, x, noise = drawn("x0", "x", "noise")
    torch.testing.assert_close(scheduler.step(x0, x, 1, -19, noise), x0, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ddpm(steps_offset=0).step(x0, x, 0, -20, None), x0, atol=1e-6, rtol=1e-5)


def test_clamping_is_the_default_of_a_file_that_does_not_say():
    entries = {name: value for name, value in LATENTS.items() if name != "clip_sample"}
    predicted, x = drawn("predicted", "x")
    assert float(DDPM(DDPMConfig.from_json(entries)).clean(5 * predicted, x, 500).abs().max()) == 1
    assert float(ddpm().clean(5 * predicted, x, 500).abs().max()) > 1


def test_a_ddim_file_is_read_and_what_changes_sampling_is_refused():
    assert (
        DDPMConfig.from_json({**LATENTS, "_class_name": "DDIMScheduler", "set_alpha_to_one": False}).steps_offset == 1
    )
    for name, value in (("variance_type", "learned_range"), ("thresholding", True), ("rescale_betas_zero_snr", True)):
        with pytest.raises(OptionError, match=name):
            DDPMConfig.from_json({**LATENTS, name: value})
    with pytest.raises(OptionError, match="beta_schedule"):
        DDPMConfig.from_json({"beta_schedule": "squaredcos_cap_v2"})


def test_given_betas_replace_the_formula():
    assert DDPM(DDPMConfig.from_json({"trained_betas": [0.1, 0.2]})).alphas_cumprod.tolist() == pytest.approx(
        [0.9, 0.72]
    )
