from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from starvsr.diffusion.schedules import NoiseSchedule, interpolated_cosine_log_snr, star_schedule
from starvsr.errors import OptionError

SCHEDULE = star_schedule()


def test_no_signal_is_left_at_the_last_timestep():
    assert SCHEDULE.num_levels == 1000
    assert SCHEDULE.alphas[-1] == 0 and SCHEDULE.sigmas[-1] == 1
    assert SCHEDULE.sigmas.diff().min() > 0
    torch.testing.assert_close(SCHEDULE.alphas**2 + SCHEDULE.sigmas**2, torch.ones(1000))


def test_prediction_types_agree():
    generator = torch.Generator().manual_seed(1)
    x0, noise = torch.randn(2, 4, 3, 4, 2, 5, generator=generator)
    t = torch.tensor([3, 250, 700, 998])
    x_t = SCHEDULE.add_noise(x0, noise, t)
    v = SCHEDULE.velocity(x0, noise, t)
    torch.testing.assert_close(SCHEDULE.x0_from_velocity(x_t, v, t), x0)
    torch.testing.assert_close(SCHEDULE.eps_from_velocity(x_t, v, t), noise)
    torch.testing.assert_close(SCHEDULE.velocity_from_x0(x_t, x0, t), v, atol=1e-4, rtol=1e-4)


def test_each_batch_item_has_its_own_timestep():
    x0, noise = torch.ones(2, 1, 1, 1, 1), torch.zeros(2, 1, 1, 1, 1)
    t = torch.tensor([0, 999])
    assert SCHEDULE.add_noise(x0, noise, t).flatten().tolist() == SCHEDULE.alphas[t].tolist()
    assert SCHEDULE.add_noise(x0, noise, torch.tensor(999)).abs().max() == 0


def test_levels_and_timesteps_are_inverse():
    t = torch.linspace(0, 998, 777)
    torch.testing.assert_close(SCHEDULE.timestep_at(SCHEDULE.level_at(t)), t.double(), atol=2e-3, rtol=0)
    assert SCHEDULE.level_at(torch.tensor([999.0, 998.5])).tolist() == [torch.inf, torch.inf]
    assert SCHEDULE.timestep_at(torch.tensor([torch.inf, 1e9, 0.0])).tolist() == [999, 998, 0]


def test_fast_evaluates_14_times():
    levels = SCHEDULE.fast()
    timesteps = SCHEDULE.integer_timestep_at(levels[:-1])
    assert timesteps.tolist() == [899, 799, 699, 599, 500, 454, 409, 363, 318, 272, 227, 181, 136, 90]
    assert levels[-1] == 0


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 15, 31, 50, 99, 200])
def test_normal_evaluates_at_evenly_spread_timesteps(num_steps):
    levels = SCHEDULE.normal(num_steps)
    assert len(levels) == num_steps + 1 and levels[-1] == 0 and levels.diff().max() < 0
    wanted = [round(Fraction(899) - i * Fraction(900, num_steps + 1)) for i in range(num_steps)]  # half to even
    assert SCHEDULE.integer_timestep_at(levels[:-1]).tolist() == wanted


def exact_tables():
    """The schedule's alphas and sigmas in 40 digits, by the formulas of the paper."""
    with mpmath.workdps(40):
        top, bottom = mpmath.atan(mpmath.exp("7.5")), mpmath.atan(mpmath.exp("-7.5"))
        shares = []
        for i in range(1000):
            u = mpmath.mpf(999 - i) / 999
            log_snr = -2 * mpmath.log(mpmath.tan(top + u * (bottom - top)))
            log_snr -= 2 * (u * mpmath.log(2) + (1 - u) * mpmath.log(4))
            shares.append(mpmath.sqrt(1 / (1 + mpmath.exp(log_snr))))
        stretch = (1 - shares[0]) / (shares[-1] - shares[0])
        sigmas = [shares[0] + stretch * (share - shares[0]) for share in shares]
        return [mpmath.sqrt(abs(1 - sigma**2)) for sigma in sigmas[:-1]], sigmas[:-1]


@pytest.mark.parametrize(("name", "values"), list(zip(("alphas", "sigmas"), exact_tables(), strict=True)))
def test_tables_are_the_nearest_float32_by_a_margin(name, values):
    """No entry is so near to the middle of two float32 numbers that the last bits of float64 could decide it."""
    table = getattr(SCHEDULE, name)
    assert table.dtype == torch.float32
    for stored, value in zip(table.tolist(), values, strict=False):
        assert stored == float(np.float32(float(value)))
        for limit in (0.0, 2.0):
            middle = (stored + float(np.nextafter(np.float32(stored), np.float32(limit)))) / 2
            assert abs(middle - value) > 1e-12 * value


def test_the_last_bits_of_a_processor_move_no_timestep():
    """Tables off by several units of float64, and levels by one of float32, ask the network at the same timesteps."""
    generator = torch.Generator().manual_seed(3)
    wobble = 1 + 4e-16 * torch.randn(1000, generator=generator, dtype=torch.float64)
    other = NoiseSchedule.from_log_snr(interpolated_cosine_log_snr() * wobble, zero_terminal_snr=True)
    assert torch.equal(other.alphas, SCHEDULE.alphas) and torch.equal(other.sigmas, SCHEDULE.sigmas)
    for levels in (SCHEDULE.fast(), *(SCHEDULE.normal(n) for n in (*range(1, 65), 99, 127, 199, 255, 449))):
        wanted = SCHEDULE.integer_timestep_at(levels[:-1])
        for towards in (0.0, torch.inf):
            moved = torch.nextafter(levels[:-1], torch.tensor(towards))
            assert torch.equal(SCHEDULE.integer_timestep_at(moved), wanted)
            assert torch.equal(other.integer_timestep_at(moved), wanted)


def test_fractional_timesteps_are_rounded_to_thousandths_first():
    ladder = NoiseSchedule(torch.ones(9, dtype=torch.float64), torch.arange(9, dtype=torch.float64).exp())  # ln k = t
    t = torch.tensor([3.5, 3.4996, 3.5004, 3.4994, 3.5006, 2.5, 2.5004, 2.4996, 2.5006], dtype=torch.float64)
    assert ladder.integer_timestep_at(t.exp()).tolist() == [4, 4, 4, 3, 4, 2, 2, 2, 3]


def test_a_schedule_keeps_its_levels_on_the_way_to_a_device():
    moved = SCHEDULE.to("cpu")
    assert torch.equal(moved.log_levels, SCHEDULE.log_levels) and torch.equal(moved.alphas, SCHEDULE.alphas)


def test_a_list_from_pure_noise_starts_at_infinity():
    levels = SCHEDULE.normal(5, t_max=999)
    assert levels[0] == torch.inf and levels[1:].isfinite().all()


def test_impossible_lists_are_refused():
    for make in (
        lambda: SCHEDULE.normal(0),
        lambda: SCHEDULE.normal(5, t_max=1000),
        lambda: SCHEDULE.normal(5, t_max=10, t_min=10),
        lambda: SCHEDULE.fast(t_max=400),
        lambda: SCHEDULE.levels_of([5.0]),
        lambda: NoiseSchedule(torch.ones(3), torch.ones(4)),
    ):
        with pytest.raises(OptionError):
            make()
