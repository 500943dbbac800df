"""The optimiser: orthogonal updates for matrices, Adam's for the rest, both going downhill."""

from __future__ import annotations

import torch
from torch import nn

from starvsr.training.optimizer import Muon, orthogonalize, parameter_groups


def test_orthogonalized_matrix_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in [(16, 64), (64, 16), (24, 24)]:
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
        assert values.max() < 1.3
        assert values.median() > 0.6


def test_processors_orthogonalise_in_float32() -> None:
    matrix = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    exact = orthogonalize(matrix.double())  # its steps are in float32, too
    half = orthogonalize(matrix.bfloat16())
    assert (orthogonalize(matrix) - exact).abs().max() < 1e-5
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.05


def test_groups_hold_every_parameter_once() -> None:
    module = nn.Sequential(nn.Conv2d(8, 16, 3), nn.GroupNorm(4, 16), nn.Conv2d(16, 8, 3))
    groups = parameter_groups(module, ("2.",), "0.")
    kinds = [(group["adam"], group["is_head"], len(group["params"])) for group in groups]
    assert kinds == [(False, True, 1), (True, False, 4), (True, True, 1)]
    assert len({id(p) for group in groups for p in group["params"]}) == len(list(module.parameters()))


def test_both_kinds_fit_a_linear_map() -> None:
    torch.manual_seed(0)
    wanted, inputs = nn.Linear(16, 16), torch.randn(128, 16)
    for names in ((), ("weight",)):
        model = nn.Linear(16, 16)
        optimizer = Muon(parameter_groups(model, names), lr=0.05)
        losses = []
        for step in range(150):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 150)
            loss = (model(inputs) - wanted(inputs)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.01 * losses[0]
