from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.speed import stablevsr_call
from tests.support.stablevsr_folder import DATA

pytest.importorskip("diffusers")


@pytest.mark.parametrize("build", [stablevsr_call.unet_call, stablevsr_call.decoder_call])
def test_both_sides_compute_the_same(build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = json.loads((DATA / "p4_single_frame.json").read_text())["tiny_config"]
    monkeypatch.setattr(stablevsr_call, "UNET", sizes["unet"])
    monkeypatch.setattr(stablevsr_call, "VAE", sizes["vae"])
    given = stablevsr_call.inputs((12, 8), torch.float32, "cpu")
    made = []
    with torch.inference_mode():
        for ours in (True, False):
            torch.manual_seed(0)
            made.append(build(ours, given, torch.float32, "cpu")())
    assert made[0].shape == made[1].shape and float(made[0].std()) > 0
    assert torch.allclose(*made, atol=1e-5)
