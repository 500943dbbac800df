"""Weights with two ends: both are there unchanged, and the line between them is straight."""

from __future__ import annotations

import pytest
import torch

from starvsr.errors import WeightsError
from starvsr.models.weight_ends import between_ends, has_ends, join_ends

ONE = {"a.weight": torch.tensor([1.0, 2.0]), "b": torch.tensor([[4.0]])}
OTHER = {"a.weight": torch.tensor([3.0, 0.0]), "b": torch.tensor([[8.0]])}


def test_the_ends_are_what_went_in_and_the_middle_is_between() -> None:
    joined = join_ends(ONE, OTHER)
    assert has_ends(joined) and not has_ends(ONE) and len(joined) == 4
    for detail, wanted in ((0.0, ONE), (1.0, OTHER)):
        assert all(torch.equal(value, wanted[name]) for name, value in between_ends(joined, detail).items())
    quarter = between_ends({name: tensor.half() for name, tensor in joined.items()}, 0.25)
    assert quarter["a.weight"].tolist() == [1.5, 1.5] and quarter["b"].item() == 5.0
    assert quarter["b"].dtype == torch.float32 and quarter.keys() == ONE.keys()


def test_ends_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(WeightsError, match="differ in b"):
        join_ends(ONE, {**OTHER, "b": torch.zeros(2)})
    with pytest.raises(WeightsError, match="differ in c"):
        join_ends(ONE, {**OTHER, "c": torch.zeros(2)})
    joined = join_ends(ONE, OTHER)
    with pytest.raises(WeightsError, match=r"incomplete \(b\)"):
        between_ends({name: value for name, value in joined.items() if name != "vivid.b"}, 0.5)
