from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.speed import stablevsr_call
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoderConfig
from tests.support.stablevsr_folder import DATA
from tests.support.stablevsr_guidance_decoder import layers

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


def test_operations_are_those_of_the_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small decoder's by hand, two for each product: its layers at one, two and four times the latents' size."""
    sizes = json.loads((DATA / "p4_single_frame.json").read_text())["tiny_config"]
    monkeypatch.setattr(stablevsr_call, "UNET", sizes["unet"])
    monkeypatch.setattr(stablevsr_call, "VAE", sizes["vae"])
    factors = {"first": 1, "blocks": 1, "up": 1, "up_blocks": 4, "fine": 4, "last": 16}
    channels = layers(dataclasses.asdict(GuidanceDecoderConfig()))
    wanted = sum(2 * 9 * out * into * 12 * 8 * factors[name.split(".")[0]] for name, (out, into) in channels.items())
    found = stablevsr_call.count((12, 8))
    assert round(found["small"] * 1e12) == wanted
    monkeypatch.setattr(stablevsr_call, "count", lambda size: {"unet": 2.0, "decoder": 6.0, "small": 1.0})
    assert "| saved of it | 62.5% |" in stablevsr_call.count_table((12, 8))
