"""Terms for the look of results: each sees the fault it is for, and not what it is not for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.metrics.vgg_distance import vgg_distance
from starvsr.models.vgg16 import Vgg16, feature_distance
from starvsr.training.discriminator import adversarial_loss, critic_loss
from starvsr.training.feature_critic import FeatureCritic
from starvsr.training.perceptual import (
    artefact_loss,
    draw_excerpt,
    grid_loss,
    halo_loss,
    nearest,
    pattern_loss,
    perceptual_distance,
    sharpened,
    vgg_features,
)
from starvsr.training.two_heads import TwoHeadCritic

SIDE = 64


def _gray(plane: Tensor, num_frames: int = 1) -> Tensor:
    return plane.expand(1, 3, num_frames, *plane.shape)


def _noise(seed: int = 0, size: float = 0.1) -> Tensor:
    return size * torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def _wave(period: int, axis: int, size: float) -> Tensor:
    line = size * torch.cos(2 * torch.pi * torch.arange(SIDE) / period)
    return (line[:, None] if axis == 0 else line[None]).expand(SIDE, SIDE)


def _lattice(size: float) -> Tensor:
    """One square of 4x4 in all squares, with a mean of 0 and the given root mean square."""
    square = torch.randn(4, 4, generator=torch.Generator().manual_seed(5))
    square = square - square.mean()
    return (size * square / square.square().mean().sqrt()).repeat(SIDE // 4, SIDE // 4)


def test_the_pattern_term_sees_a_lattice_in_texture_which_the_grid_term_may_not() -> None:
    texture = _noise(1, 0.1)
    without, faint, clear = (
        float(pattern_loss(_gray(_noise(2, 0.1) + _lattice(size)), _gray(texture))) for size in (0, 0.03, 0.06)
    )
    assert clear > 2 * faint > 4 * without
    fine = _wave(2, 0, 0.06) + _wave(2, 1, 0.06)  # every second pixel: no line of the grid term
    assert pattern_loss(_gray(texture + fine), _gray(texture)) > 2 * without
    assert pattern_loss(_gray(texture + _lattice(0.06)), _gray(_noise(2, 0.1) + _lattice(0.06))) < 2 * without


def test_the_halo_term_sees_what_leaves_the_range_nearby() -> None:
    columns = torch.arange(SIDE)
    edge = 0.4 * torch.tanh((columns - 30.3) / 1.2).expand(SIDE, SIDE)
    halo = edge + 0.1 * ((columns > 34) & (columns < 38))
    ghost = edge - 0.1 * ((columns > 49) & (columns < 53))
    shallow = 0.4 * torch.tanh((columns - 30.3) / 3).expand(SIDE, SIDE)
    assert halo_loss(_gray(edge), _gray(edge)) == 0 and halo_loss(_gray(shallow), _gray(edge)) < 1e-5
    assert float(halo_loss(_gray(halo), _gray(edge))) == pytest.approx(0.1 * 3 / SIDE, rel=0.1)
    assert float(halo_loss(_gray(ghost), _gray(edge))) == pytest.approx(0.1 * 3 / SIDE, rel=0.1)
    texture = _noise(1, 0.1)
    assert halo_loss(_gray(_noise(2, 0.1)), _gray(texture)) < 0.02 * halo_loss(_gray(edge + texture), _gray(edge))
    prediction = _gray(ghost).clone().requires_grad_()
    halo_loss(prediction, _gray(edge)).backward()
    assert prediction.grad is not None
    assert (prediction.grad.abs().sum((0, 1, 2, 3)) > 0).nonzero().flatten().tolist() == [50, 51, 52]


@pytest.mark.parametrize("slant", [0.0, 0.3, 1.0])
def test_the_pattern_term_sees_beads_along_an_edge_and_not_the_edge(slant: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = columns - 30.3 * (slant < 1) - slant * rows
    edge = 0.4 * torch.tanh(distance / 1.2)
    beads = edge - 0.3 * ((distance.abs() < 1) & (rows % 4 == 0))
    assert pattern_loss(_gray(edge), _gray(edge)) == 0
    assert pattern_loss(_gray(beads), _gray(edge)) > 1e-3
    prediction = _gray(beads).clone().requires_grad_()
    pattern_loss(prediction, _gray(edge)).backward()
    moved = prediction.detach() - 0.01 * prediction.grad / prediction.grad.abs().max()  # type: ignore[operator,union-attr]
    assert pattern_loss(moved, _gray(edge)) < pattern_loss(prediction, _gray(edge))
    assert torch.isfinite(pattern_loss(_gray(edge[:8, :9]), _gray(edge[:8, :9] + 0.1)))  # a crop of two squares


@pytest.mark.parametrize("axis", [0, 1])
def test_the_grid_term_sees_a_faint_weave_in_a_smooth_area(axis: int) -> None:
    smooth = _wave(64, axis, 0.2) + _noise(1, 0.004)
    truth = _wave(64, axis, 0.2) + _noise(2, 0.004)
    without, faint, clear = (
        float(grid_loss(_gray(smooth + _wave(4, axis, size)), _gray(truth))) for size in (0, 0.008, 0.03)
    )
    assert without < faint < clear and clear > without + 0.3
    assert float(grid_loss(_gray(smooth + _wave(5, axis, 0.03)), _gray(truth))) < without + 0.1  # not of the grid
    woven = truth + _wave(4, axis, 0.03)
    assert float(grid_loss(_gray(smooth + _wave(4, axis, 0.03)), _gray(woven))) < without + 0.1  # the truth has it


def test_the_grid_term_leaves_texture_and_the_invisible_alone() -> None:
    texture = _noise(1, 0.2)
    assert grid_loss(_gray(1.5 * texture), _gray(texture)) < 0.01
    flat = torch.zeros(SIDE, SIDE)
    assert grid_loss(_gray(_wave(4, 1, 0.05 / 127.5)), _gray(flat)) < 0.1
    assert grid_loss(_gray(flat + 0.3), _gray(flat)) < 1e-5
    prediction = _gray(_wave(4, 1, 0.05)).clone().requires_grad_()
    grid_loss(prediction, _gray(flat)).backward()
    assert torch.isfinite(prediction.grad).all()  # type: ignore[arg-type]
    assert (prediction.grad * prediction.detach()).sum() > 0  # type: ignore[operator]  # less of it is better


def test_the_artefact_term_sees_misplaced_texture_and_not_a_smooth_error() -> None:
    gt = torch.zeros(SIDE, SIDE)
    worse_texture = gt + _noise(1)
    smooth = gt + F.interpolate(_noise(1)[None, None, :4, :4], (SIDE, SIDE), mode="bicubic")[0, 0]
    smooth = smooth * worse_texture.abs().mean() / smooth.abs().mean()
    reference = gt + 1e-4
    half = worse_texture.clone()
    half[:, SIDE // 2 :] = smooth[:, SIDE // 2 :]
    prediction = _gray(half).clone().requires_grad_()
    artefact_loss(prediction, _gray(reference), _gray(gt)).backward()
    grad = prediction.grad[0, 0, 0].abs()  # type: ignore[index]
    assert grad[:, : SIDE // 2 - 8].mean() > 5 * grad[:, SIDE // 2 + 8 :].mean() > 0  # equal in an absolute error


def test_the_artefact_term_lets_detail_be_that_is_nearer_than_the_reference() -> None:
    gt = _gray(_noise(2))
    blurred = _gray(F.avg_pool2d(gt[0, 0, 0][None, None], 5, 1, 2)[0, 0])
    assert artefact_loss(0.9 * gt + 0.1 * blurred, blurred, gt) == 0
    assert artefact_loss(blurred - (gt - blurred), blurred, gt) > 0.01


def test_a_sharpened_target_is_steeper_where_it_was_soft_and_has_no_halo_where_it_was_sharp() -> None:
    x = torch.linspace(-8, 8, SIDE)
    soft, hard = (_gray((0.8 * torch.tanh(x / width)).expand(SIDE, SIDE)) for width in (0.7, 0.2))
    made = sharpened(soft, 1.0)
    assert made.diff(dim=-1).max() > 1.02 * soft.diff(dim=-1).max()
    assert sharpened(hard, 1.0).abs().max() < 0.8 + 0.02
    flat = _gray(torch.full((SIDE, SIDE), 0.2))
    assert torch.allclose(sharpened(flat, 1.0), flat, atol=1e-5)
    coloured = torch.rand(1, 3, 2, 24, 24)
    added = sharpened(coloured, 1.0) - coloured
    assert added.abs().max() > 0.01 and (added.amax(1) - added.amin(1)).max() < 1e-5  # luma alone


def test_the_perceptual_term_is_the_metric() -> None:
    torch.manual_seed(0)
    network = Vgg16(((4, 4), (4, 4), (4, 4, 4), (4, 4, 4), (4, 4, 4)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.requires_grad_(False)
    gt, hq = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    clips = [torch.from_numpy(c).permute(3, 0, 1, 2)[None].float() / 127.5 - 1 for c in (hq, gt)]
    clips[0].requires_grad_()
    loss = perceptual_distance(*(vgg_features(network, clip) for clip in clips))
    assert float(loss.detach()) == pytest.approx(vgg_distance(gt, hq, network=network).mean(), rel=1e-4)
    loss.backward()
    made = clips[0].grad
    assert made is not None and made.abs().min(dim=1).values.mean() > 0
    clips[0].grad = None
    frames = [clip.transpose(1, 2).flatten(0, 1).add(1).mul(127.5) for clip in clips]
    feature_distance(network(frames[0]), network(frames[1])).mean().backward()
    assert clips[0].grad is not None
    torch.testing.assert_close(made, clips[0].grad, rtol=1e-3, atol=1e-4 * float(made.abs().max()))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_nearest_candidate_is_chosen() -> None:
    wanted = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    near = [layer + 0.01 * torch.rand_like(layer) for layer in wanted]
    far = [torch.rand_like(layer) for layer in wanted]
    assert nearest([far, near], wanted) == 1 and nearest([near, far], wanted) == 0
    assert nearest([near, [layer.clone() for layer in near]], wanted) == 0  # the first of equals


def test_excerpts_lie_within_anywhere_and_follow_the_generator() -> None:
    clip = torch.zeros(2, 3, 5, 60, 72)
    seen = set()
    for seed in range(30):
        one, again = (draw_excerpt(clip, 32, 2, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert one == again and one.of(clip).shape == (2, 3, 2, 32, 32)
        assert one.rows.stop <= 60 and one.columns.stop <= 72
        seen.add((one.frames.start, one.rows.start, one.columns.start))
    assert {s[0] for s in seen} == {0, 1, 2, 3} and max(s[1] for s in seen) > 20
    assert all({s[axis] % 4 for s in seen} == {0, 1, 2, 3} for axis in (1, 2))  # on no grid
    assert draw_excerpt(clip, 99, 9, torch.Generator()).of(clip).shape == clip.shape


def test_the_second_head_alone_sees_time() -> None:
    torch.manual_seed(0)
    critic = TwoHeadCritic(8).eval()
    clip = torch.rand(2, 3, 3, 32, 32)
    changed = clip.clone()
    changed[:, :, 2] = clip[:, :, 1]
    num_detail = 2 * 3 * 16
    verdicts, others = critic(clip), critic(changed)
    assert len(verdicts) > num_detail
    detail = torch.isclose(verdicts[:num_detail].view(2, 3, -1), others[:num_detail].view(2, 3, -1)).all(-1)
    assert detail.tolist() == [[True, True, False]] * 2
    consistency = torch.isclose(verdicts[num_detail:], others[num_detail:])
    assert consistency.any() and not consistency.all()
    assert len(critic(clip[:, :, :1])) == 2 * 16


def test_the_critic_learns_to_tell_flicker_from_a_still_clip() -> None:
    torch.manual_seed(0)
    critic = TwoHeadCritic(8)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=4e-3, betas=(0.5, 0.99))
    course = []
    for _ in range(16):
        frame = torch.rand(2, 3, 1, 16, 16)
        still, flicker = frame.expand(-1, -1, 2, -1, -1), torch.rand(2, 3, 2, 16, 16)
        loss = critic_loss(critic, still, flicker)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-3:]) < 0.85 * sum(course[:3])  # single frames are alike: only time tells


def test_the_critic_of_features_learns_to_tell_sharp_from_blurred_frames() -> None:
    torch.manual_seed(0)
    widths = ((4, 4), (8, 8), (8, 8, 8), (8, 8, 8), (8, 8, 8))
    trunk, critic = Vgg16(widths).requires_grad_(False), FeatureCritic(8, [block[-1] for block in widths])
    for kernel in (p for p in trunk.parameters() if p.dim() == 4):
        torch.nn.init.normal_(kernel, std=(2 / kernel[0].numel()) ** 0.5)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=4e-3, betas=(0.5, 0.99))
    course = []
    for _ in range(24):
        sharp = 2 * torch.rand(2, 3, 2, 32, 32) - 1
        blurred = F.avg_pool3d(sharp, (1, 3, 3), 1, (0, 1, 1))
        loss = critic_loss(critic, vgg_features(trunk, sharp), vgg_features(trunk, blurred))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-3:]) < 0.85 * sum(course[:3])
    assert critic(vgg_features(trunk, sharp)).shape == (4 * 4 * 4 * 4,)  # heads, frames, patches alike for all heads
    made = blurred.clone().requires_grad_()
    adversarial_loss(critic, vgg_features(trunk, made)).backward()
    assert made.grad is not None and made.grad.abs().amin(dim=(0, 2, 3, 4)).min() > 0
