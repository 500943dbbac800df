"""CausalSR looks back a fixed number of frames and no further, keeps gray gray and still clips still."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.models.causal_sr import (
    LEAST_STRIP_ROWS,
    CausalSR,
    CausalSRConfig,
    State,
    _shifted,
    _ShiftWithGradient,
)
from starvsr.models.luma_chroma import chroma_gate, to_ycc

MEMORY = 3


SMALL = CausalSRConfig(width=12, num_blocks=5, memory=MEMORY, up_width=8, thin_width=4)


@pytest.fixture(scope="module", params=["plain", "context", "shared head"])
def network(request: pytest.FixtureRequest) -> CausalSR:
    torch.manual_seed(0)
    context = {"thin_block": True, "context_width": 8, "context_blocks": 1}
    more: dict[str, dict[str, Any]] = {"plain": {}, "context": context, "shared head": {"shared_head": True}}
    network = CausalSR(dataclasses.replace(SMALL, **more[request.param]))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.12)
    return network.eval().requires_grad_(False)


def _clip(num_frames: int, height: int = 12, width: int = 16, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, num_frames, height, width, generator=rng) * 2 - 1


def _streamed(network: CausalSR, clip: Tensor, state: State | None = None) -> Tensor:
    frames = []
    for frame in clip.unbind(2):
        made, state = network.step(frame, state)
        frames.append(made)
    return torch.stack(frames, dim=2)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 10), (12, 9)])
def test_result_has_four_times_the_size(network: CausalSR, size: tuple[int, int]) -> None:
    assert network(_clip(2, *size)).shape == (1, 3, 2, 4 * size[0], 4 * size[1])


def test_a_frame_changes_itself_and_memory_frames_after_it(network: CausalSR) -> None:
    clip = _clip(8)
    changed = clip.clone()
    changed[:, :, 2] = _clip(1, seed=1)[:, :, 0]
    difference = (network(clip) - network(changed)).abs().amax((0, 1, 3, 4))
    assert (difference > 0).tolist() == [2 <= t <= 2 + MEMORY for t in range(8)]


def test_the_stream_gives_what_the_clip_gives(network: CausalSR) -> None:
    clip = _clip(7, 11, 14)
    whole = network(clip)
    assert (
        whole - F.interpolate(clip[0].transpose(0, 1), scale_factor=4.0, mode="bicubic").transpose(0, 1)
    ).std() > 0.01
    assert (_streamed(network, clip) - whole).abs().max() < 1e-5


def test_a_clip_goes_on_from_a_state(network: CausalSR) -> None:
    clip = _clip(7)
    state = None
    for frame in clip[:, :, :4].unbind(2):
        _, state = network.step(frame, state)
    rest = network(clip[:, :, 4:], state)
    assert (rest - network(clip)[:, :, 4:]).abs().max() < 1e-5
    assert (rest - network(clip[:, :, 4:])).abs().max() > 1e-3  # the state matters


@pytest.mark.parametrize("start", [1, 4, 6])
def test_a_stream_restarted_with_its_memory_gives_the_same_bytes(network: CausalSR, start: int) -> None:
    clip = _clip(11)
    whole = _streamed(network, clip)
    again = _streamed(network, clip[:, :, start:])
    assert torch.equal(again[:, :, MEMORY:], whole[:, :, start + MEMORY :])
    assert not torch.equal(again[:, :, MEMORY - 1], whole[:, :, start + MEMORY - 1])


def test_advancing_is_a_step_without_its_result(network: CausalSR) -> None:
    clip, state, other = _clip(3), None, None
    for frame in clip.unbind(2):
        _, state = network.step(frame, state)
        other = network.advance(frame, other)
    assert state is not None and other is not None
    assert all(torch.equal(a, b) for a, b in zip(state, other, strict=True))


@pytest.mark.parametrize("height", [96, 97, 211])
def test_strips_give_the_whole(network: CausalSR, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = _clip(1, height, 10)[:, :, 0]
    whole, heights = network.step(clip)[0], []
    head = network._head
    monkeypatch.setattr(network, "_head", lambda x: heights.append(x.shape[-2]) or head(x))
    monkeypatch.setattr(network, "strip_px", 1)
    made = network.step(clip)[0]
    assert len(heights) == -(-((height + 1) // 2) // LEAST_STRIP_ROWS)
    assert (made - whole).abs().max() < 1e-5


def test_clips_of_a_batch_do_not_mix(network: CausalSR) -> None:
    clips = [_clip(3, seed=seed) for seed in (1, 2)]
    together = network(torch.cat(clips))
    for made, clip in zip(together.split(1), clips, strict=True):
        assert (made - network(clip)).abs().max() < 1e-5


def test_gray_stays_gray_exactly(network: CausalSR) -> None:
    gray = _clip(3)[:, :1].expand(-1, 3, -1, -1, -1)
    made = network(gray)
    assert (made.amax(1) - made.amin(1)).max() < 1e-5
    tinted = gray.clone()
    tinted[:, 0] += 0.1
    spread = network(tinted)
    assert (spread.amax(1) - spread.amin(1)).mean() > 0.05


def test_a_still_clip_gives_one_picture(network: CausalSR) -> None:
    still = _clip(1).expand(-1, -1, 6, -1, -1)
    made = _streamed(network, still)
    assert all(torch.equal(frame, made[:, :, 0]) for frame in made.unbind(2))


def test_fresh_weights_of_the_head_show_no_grid() -> None:
    torch.manual_seed(1)
    network = CausalSR().requires_grad_(False)
    flat = torch.randn(1, 64, 1, 1).expand(-1, -1, 8, 8)

    def inner_luma() -> Tensor:
        return F.pixel_shuffle(network._head(flat)[0, :4], 2)[0, 16:-16, 16:-16]

    assert inner_luma().abs().mean() > 1e-3 and inner_luma().std() < 1e-6
    network.up.weight[:1] += 0.05  # one sub-pixel of its own
    assert inner_luma().std() > 1e-4


def test_chroma_is_let_through_near_colour_alone() -> None:
    chroma = torch.zeros(1, 2, 40, 40)
    chroma[:, 1, 20:, :] = 0.5
    gate = chroma_gate(chroma)
    assert gate.shape == (1, 1, 40, 40)
    assert gate[..., :10, :].max() == 0 and gate[..., 25:, :].min() > 0.9


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="memory must be 0 to num_blocks"):
        CausalSRConfig(num_blocks=4, memory=6)
    with pytest.raises(OptionError, match="at least 1"):
        CausalSRConfig(width=0)


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (1, 3)])
def test_without_a_correction_luma_is_bicubic_and_chroma_bicubic_then_bilinear(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    network = CausalSR().requires_grad_(False)
    network.last.weight.zero_()
    clip = torch.rand(1, 3, 1, *size) * 2 - 1
    ycc = to_ycc(clip[:, :, 0])
    luma = F.interpolate(ycc[:, :1], scale_factor=4, mode="bicubic", align_corners=False)
    chroma = F.interpolate(ycc[:, 1:], scale_factor=2, mode="bicubic", align_corners=False)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    wanted = torch.cat([luma, chroma], dim=1)
    torch.testing.assert_close(to_ycc(network(clip)[:, :, 0]), wanted, atol=3e-6, rtol=0)


def test_the_gradient_of_the_shift_is_that_of_its_slices() -> None:
    x = torch.randn(6, 8, 3, 5, generator=torch.Generator().manual_seed(3))  # two clips of three frames
    weights = torch.randn(6, 8, 3, 5, generator=torch.Generator().manual_seed(4))
    gradients = []
    for shift in (lambda y: _ShiftWithGradient.apply(y, 2, 3), lambda y: _shifted(y, 2, 3, None)):
        given = x.clone().requires_grad_()
        (shift(given) * weights).sum().backward()
        assert given.grad is not None
        gradients.append(given.grad)
    assert torch.equal(*gradients) and not torch.equal(gradients[0], weights)


def test_fresh_context_and_block_change_nothing_and_old_weights_fit_beside_them() -> None:
    torch.manual_seed(0)
    plain = CausalSR(SMALL)
    more = CausalSR(dataclasses.replace(SMALL, thin_block=True, context_width=8))
    absent = more.load_state_dict(plain.state_dict(), strict=False)
    assert not absent.unexpected_keys and all(name.startswith(("context", "thin")) for name in absent.missing_keys)
    clip = _clip(3, 9, 14)
    assert torch.equal(plain(clip), more(clip))


@pytest.mark.parametrize("context_width", [0, 8])
def test_nothing_beyond_the_reach_matters(context_width: int) -> None:
    torch.manual_seed(0)
    context: dict[str, Any] = {"context_width": context_width, "context_blocks": 1, "context_after": 1}
    network = CausalSR(CausalSRConfig(width=6, num_blocks=2, memory=1, **context)).requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    side = 8 * (network.config.reach // 8 + 4)  # the changed pixel lies in the first position of the context
    clip = _clip(1, 8, side)
    changed = clip.clone()
    changed[..., 0] = 1
    columns = (network(clip) != network(changed)).any(dim=-2).any(dim=1)[0, 0].nonzero()[:, 0]
    last = int(columns.max()) // 4
    assert last <= network.config.reach
    assert last > (24 if context_width else 6)  # a context looks far


def test_a_context_without_place_is_refused() -> None:
    with pytest.raises(OptionError, match="come before the last of 8 blocks"):
        CausalSRConfig(context_width=8, context_after=8)


def test_a_shared_head_makes_no_pattern_of_four_pixels_from_flat_features_whatever_its_weights() -> None:
    torch.manual_seed(3)
    flat = torch.randn(1, 64, 1, 1).expand(-1, -1, 8, 8)
    for shared, is_flat in ((True, True), (False, False)):
        network = CausalSR(CausalSRConfig(shared_head=shared)).requires_grad_(False)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        inner = network._head(flat)[..., 8:-8, 8:-8]  # positions at twice the input's size
        assert (inner.std((-2, -1)).max() < 1e-5 * inner.abs().max()) == is_flat
