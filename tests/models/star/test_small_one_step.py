"""The folded one-step form gives what the plain network gives, for every size, and only the frames asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from starvsr.families.star_small.spec import STAR_SMALL
from starvsr.imaging.frames import enlarge
from starvsr.models.codecs import PixelUnshuffleCodec
from starvsr.models.star.small.config import StarSmallConfig
from starvsr.models.star.small.model import StarSmall
from starvsr.models.star.small.one_step import OneStep
from starvsr.models.star.small.refinement import held_of, repeated

TINY = dataclasses.replace(STAR_SMALL.network, width=16, head_dim=8, context_dim=8)
SHALLOW = StarSmallConfig(
    in_channels=48, out_channels=48, width=8, multipliers=(1, 2), num_res_blocks=(0, 2), head_dim=8,
    first_heads=0, attn_scales=(0.5,), context_dim=8, norm="channel", temporal_stages=(2, 1), dropout=0.0,
)  # fmt: skip
PLAIN = dataclasses.replace(TINY, refinement_width=0, temporal_padding="zeros")
ALPHA, SIGMA, TIMESTEP = 0.8, 0.6, 250
CODEC = PixelUnshuffleCodec()


def _enlarge(clip: Tensor) -> Tensor:
    return enlarge(clip, 4 * clip.shape[-2], 4 * clip.shape[-1], "bicubic")


def _network(config: StarSmallConfig) -> StarSmall:
    torch.manual_seed(0)
    network = StarSmall(config, 4).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def _folded(network: StarSmall) -> OneStep:
    return OneStep(network, CODEC, _enlarge, alpha=ALPHA, sigma=SIGMA, timestep=TIMESTEP)


def _refined(network: StarSmall, lq: Tensor) -> Tensor:
    enlarged = _enlarge(lq)
    made = CODEC.decode(network.one_step(CODEC.encode(enlarged), ALPHA, SIGMA, TIMESTEP))
    assert (made - enlarged).abs().mean() > 1e-3  # the network does something
    return network.refined(made, enlarged, lq)[0]


@pytest.mark.parametrize("config", [TINY, SHALLOW, PLAIN])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 9), (3, 21, 34), (9, 10, 8), (3, 24, 25), (2, 29, 42)])
def test_folded_form_equals_the_network(config: StarSmallConfig, size: tuple[int, int, int]) -> None:
    network, lq = _network(config), torch.rand(1, 3, *size) * 2 - 1
    with torch.inference_mode():
        got = torch.stack(list(_folded(network)(lq)), 1)
        exact = _refined(network.double(), lq.double())  # float32 rounds otherwise on every processor
    is_even = size[1:] == (1, 1)  # a single pixel holds nothing fine: what is added is held back
    assert ((exact - _enlarge(lq)[0]).abs().mean() > 1e-3) != (is_even and network.refinement is not None)
    assert (got - exact).abs().max() < 2e-5


def test_still_clips_stay_still_to_their_ends() -> None:
    folded, frame = _folded(_network(TINY)), torch.rand(1, 3, 1, 12, 17) * 2 - 1
    frames = list(folded(frame.repeat(1, 1, 6, 1, 1)))
    assert all((one - frames[0]).abs().max() < 1e-5 for one in frames[1:])
    ends = list(_folded(_network(PLAIN))(frame.repeat(1, 1, 6, 1, 1)))
    assert (ends[0] - ends[3]).abs().max() > 1e-3  # what zeros beyond the ends do


def test_gray_stays_gray() -> None:
    gray = (torch.rand(1, 1, 3, 14, 11) * 2 - 1).repeat(1, 3, 1, 1, 1)
    made = torch.stack(list(_folded(_network(TINY))(gray)))
    assert (made.amax(1) - made.amin(1)).max() < 1e-5
    assert (made[0] - _enlarge(gray)[0, :, 0]).abs().mean() > 1e-3


def test_the_refinement_keeps_brightness() -> None:
    refinement = _network(dataclasses.replace(TINY, refinement_width=6)).refinement
    assert refinement is not None
    change, plain = (torch.rand(1, 48, 18, 18) * 0.2 for _ in range(2))
    with torch.inference_mode():
        made = refinement.squares(change, plain, torch.ones(1, 1, 18, 18)) - plain - change
    assert made.abs().mean() > 1e-3
    assert made[..., 4:-4, 4:-4].mean().abs() < 0.05 * made.abs().mean()


def _gray_clip(luma: torch.Tensor) -> torch.Tensor:
    return luma.expand(1, 3, *luma.shape)


def test_haloes_beside_surfaces_are_cut_and_lines_are_free() -> None:
    edge = torch.full((24, 24), -0.6)
    edge[:, 12:] = 0.6
    share, limits = held_of(_gray_clip(edge))
    least, most = limits[0]
    level = 1 / 127.5
    beside = slice(9, 15)
    assert (most[:, beside] - 0.6).abs().max() < 1.01 * level and (least[:, beside] + 0.6).abs().max() < 1.01 * level
    line = torch.full((24, 24), 0.8)
    line[:, 12] = -0.2  # a dark line, thinner than a square: its own value is lost
    share_of_line, limits = held_of(_gray_clip(line))
    least, most = limits[0]
    assert least[:, 11:14].max() < -1 and most[:, 11:14].max() < 0.8 + 1.01 * level  # darker, but no pale seam
    faint = held_of(_gray_clip(torch.full((24, 24), 0.1)))[1][0]
    assert (faint[1] - faint[0] - 16 * level).abs().max() < 1e-4  # grain may be drawn on an even surface
    texture = 0.4 * (torch.rand(24, 24, generator=torch.Generator().manual_seed(0)) - 0.5)
    least, most = held_of(_gray_clip(texture))[1][0]
    assert most.median() > 1 and least.median() < -1
    assert share[0, 0, :, 10:14].min() > 0 and share[0, 0, :, :10].max() == share[0, 0, :, 14:].max() == 0
    assert share_of_line[0, 0, :, 11:14].min() == 1 and share_of_line[0, 0, :, 9:16].min() > 0.3  # no lone edge


def test_a_line_as_dark_as_ink_is_drawn_as_ink() -> None:
    line, level = torch.full((24, 24), 0.7), 1 / 127.5
    line[:, 12] = -1 + 20 * level
    least, _ = held_of(_gray_clip(line))[1][0]
    assert (least[:, 12] - (-1 + 10 * level)).abs().max() < 1.01 * level


def test_the_limits_hold_for_results_and_not_in_training() -> None:
    refinement = _network(dataclasses.replace(TINY, refinement_width=6)).refinement
    assert refinement is not None
    edge = torch.full((16, 16), -0.6)
    edge[:, 8:] = 0.6
    lq = _gray_clip(edge)[:, :, None]
    plain = _enlarge(lq)
    made = plain + 0.2 * torch.sign(plain)  # a halo of 25 levels on both sides
    with torch.inference_mode():
        cut, free = (refinement.train(training)(made, plain, lq) for training in (False, True))
    beside = slice(4 * 5, 4 * 11)
    assert cut[..., beside].abs().max() < 0.6 + 1.02 / 127.5
    assert cut.abs().max() < 0.6 + 8.02 / 127.5 < 0.7 < free[..., beside].abs().max()
    torch.testing.assert_close(cut[:, 0], cut[:, 2], atol=1e-5, rtol=0)


def test_nothing_is_added_where_the_input_holds_nothing_fine() -> None:
    refinement = _network(dataclasses.replace(TINY, refinement_width=6)).refinement
    assert refinement is not None
    ramp = torch.linspace(-0.8, 0.6, 32).expand(32, 32).clone()  # soft: as behind a lens out of focus
    ramp[20:] *= 0.2  # no slope so steep that texture on it could be an edge
    ramp[20:] += 0.2 * torch.rand(12, 32, generator=torch.Generator().manual_seed(0))
    lq = _gray_clip(ramp)[:, :, None]
    share = held_of(lq[:, :, 0])[0][0, 0]
    assert share[:14, 4:-4].max() == 0 and share[24:].min() > 0.99  # columns: at borders a slope is no slope
    plain = _enlarge(lq)
    made = plain + 0.05 * torch.rand_like(plain)
    with torch.inference_mode():
        result, trained = (refinement.train(training)(made, plain, lq) for training in (False, True))
    soft, lively, inner = slice(0, 4 * 14), slice(4 * 24, None), slice(16, -16)
    assert (result - plain)[..., soft, inner].abs().max() < 1e-6
    assert (result - plain)[..., lively, :].abs().mean() > 1e-3 and (trained - plain)[..., soft, :].abs().mean() > 1e-3


def test_a_lattice_is_taken_out_and_a_ramp_is_not() -> None:
    lattice = torch.linspace(-1, 1, 16).cos() * 0.01
    lattice -= lattice.mean()
    quiet = torch.zeros(1, 20, 24, 16) + lattice
    assert (quiet - repeated(quiet)).abs().max() < 1e-3 * lattice.abs().max() + 1e-4
    edge = torch.zeros(1, 20, 24, 16)
    edge[:, 10, :, 8:] = 0.5  # runs along a row of squares
    assert repeated(edge).abs().max() < 0.01
    brighter = torch.arange(24.0)[:, None].expand(1, 20, 24, 16) / 24  # from square to square alone
    assert repeated(brighter).abs().max() < 1e-6


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    folded, lq = _folded(_network(TINY)), torch.rand(1, 3, 13, 20, 28) * 2 - 1
    with torch.inference_mode():
        whole = list(folded(lq))
        monkeypatch.setattr("starvsr.models.star.small.one_step.CHUNK_TOKENS", 100)
        monkeypatch.setattr("starvsr.models.star.small.fused_layers.CHUNK_PX", 100)
        monkeypatch.setattr("starvsr.models.star.small.fused_layers.STRIP_PX", 100)
        monkeypatch.setattr("starvsr.models.star.small.fused_layers.STRIP_VALUES", 1000)
        pieces = list(folded(lq))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, pieces, strict=True))


def test_only_the_kept_frames_come_out_and_are_the_same() -> None:
    folded, lq = _folded(_network(TINY)), torch.rand(1, 3, 7, 12, 12) * 2 - 1
    with torch.inference_mode():
        every, kept = list(folded(lq)), list(folded(lq, slice(2, 5)))
    assert len(kept) == 3
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(every[2:5], kept, strict=True))


def test_the_trained_network_is_left_alone() -> None:
    network = _network(TINY)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    _folded(network).to_network_type(torch.bfloat16)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_other_shapes_of_network_are_refused() -> None:
    config = dataclasses.replace(TINY, num_res_blocks=(1, 1, 1))
    with pytest.raises(ValueError, match="finest level"):
        _folded(StarSmall(config, 4))
