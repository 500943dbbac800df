"""The models of the family: plain causal convolutions. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.causal_sr.settings import CausalSRSettings
from starvsr.families.entry import Entry
from starvsr.models.causal_sr_config import CausalSRConfig


@dataclass(frozen=True, kw_only=True)
class CausalSRSpec(Entry):
    """A network that gives the result itself, without latents and timesteps."""

    settings: type = CausalSRSettings
    loader: str = "starvsr.families.causal_sr.pipeline:load"
    onnx_writer: str | None = "starvsr.families.causal_sr.onnx_export:write_onnx"
    marks: tuple[str, ...] = ("first.weight", "fine.weight", "last.weight")
    is_trained: bool = False
    network: CausalSRConfig
    weights: str
    """File name of its exported weights."""
    enlarge: str = "bicubic"
    one_step_timestep: int = 0
    """It reads no timestep."""
    detail: float = 0.5
    """Place between the two ends that weights hold, where a job names none."""


CAUSAL_SR = CausalSRSpec(
    name="causal-sr",
    summary="plain causal convolutions at half resolution: fast, six frames of memory",
    network=CausalSRConfig(),
    scale=4,
    weights="causal-sr.safetensors",
    licence="Apache-2.0",
)
