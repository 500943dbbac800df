"""RAFT of torchvision, which cannot be imported beside every torch: a stand-in tells what it is asked."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from starvsr.errors import OptionError, WeightsError
from starvsr.models.flow.raft import RaftFlow, check_raft, load_raft


class Shifts(nn.Module):
    """Gives a flow for each update, of which the last one counts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.asked: list[int] = []

    def forward(self, frames: Tensor, others: Tensor, num_flow_updates: int) -> list[Tensor]:
        self.asked.append(num_flow_updates)
        return [torch.full_like(frames[:, :2], float(update)) * self.weight for update in range(num_flow_updates)]


def library(network: nn.Module) -> Any:
    module = types.ModuleType("torchvision.models.optical_flow")
    asked: dict[str, Any] = {}
    module.Raft_Large_Weights = types.SimpleNamespace(C_T_SKHT_V2="trained")  # type: ignore[attr-defined]
    module.raft_large = lambda **options: asked.update(options) or network  # type: ignore[attr-defined]
    module.asked = asked  # type: ignore[attr-defined]
    return module


def test_the_last_of_twelve_updates_counts_and_keeps_no_graph() -> None:
    network = Shifts()
    flow = RaftFlow(network)(torch.zeros(1, 3, 128, 136), torch.zeros(1, 3, 128, 136))
    assert flow.shape == (1, 2, 128, 136) and float(flow.min()) == float(flow.max()) == 11
    assert network.asked == [12] and not flow.requires_grad


@pytest.mark.parametrize("size", [(120, 136), (128, 132), (127, 128)])
def test_sizes_that_it_cannot_take_are_refused(size: tuple[int, int]) -> None:
    frames = torch.zeros(1, 3, *size)
    with pytest.raises(
        OptionError, match=rf"at least 128x128 px in multiples of 8, got {size[1]}x{size[0]}.*--flow dis"
    ):
        RaftFlow(Shifts())(frames, frames)


def test_the_published_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Shifts().train()
    module = library(network)
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", module)
    check_raft()
    loaded = load_raft()
    assert loaded.network is network and module.asked["weights"] == "trained"
    assert not network.training and not network.weight.requires_grad


def test_a_library_that_does_not_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    for function in (check_raft, load_raft):
        with pytest.raises(OptionError, match="pip install torchvision, or use --flow dis"):
            function()


def test_weights_that_cannot_be_had_are_told_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    module = library(Shifts())

    def fails(**_: Any) -> nn.Module:
        raise OSError("no route to host\nand more")

    module.raft_large = fails
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", module)
    with pytest.raises(
        WeightsError, match=r"no route to host\): put raft_large_C_T_SKHT_V2-ff5fadd5.pth into .*checkpoints"
    ):
        load_raft()
