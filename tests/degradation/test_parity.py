"""The deterministic parts of the released chain against numbers from the authors' code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from starvsr.degradation.kernels import filter_clip
from starvsr.degradation.released import sharpen, usm_kernel

GOLDEN = Path(__file__).parents[1] / "parity" / "data" / "star" / "degradation.safetensors"
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def test_sharpening_kernel(golden: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(torch.from_numpy(usm_kernel()).float(), golden["usm_kernel"], atol=TOLERANCE, rtol=0)


def test_sharpened_picture(golden: dict[str, torch.Tensor]) -> None:
    assert (golden["usm"] - golden["image"]).abs().max() > 0.01
    torch.testing.assert_close(sharpen(golden["image"]), golden["usm"], atol=TOLERANCE, rtol=0)


def test_filtering(golden: dict[str, torch.Tensor]) -> None:
    blurred = filter_clip(golden["image"], golden["kernel_aniso"].numpy())
    torch.testing.assert_close(blurred, golden["filtered"], atol=TOLERANCE, rtol=0)
