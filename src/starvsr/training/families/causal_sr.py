"""Training of causal-sr: from low-quality pixels to the result, without latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.models.causal_sr import CausalSR
from starvsr.models.causal_sr_widening import changes, widen
from starvsr.models.weight_ends import one_end
from starvsr.models.weights import build_empty, check_fit, load_weights, read_tensors, with_stored_sizes
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.model import Start, TrainingModel
from starvsr.training.parts import NamedParts
from starvsr.training.recipe import with_changes
from starvsr.training.sketch import StageSketch

CAUSAL_PARTS = NamedParts()


@dataclass(kw_only=True)
class CausalSRModel(TrainingModel):
    """A network whose output is the result."""

    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return the result, see :meth:`TrainingModel.upscale`."""
        with torch.autocast(lq.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            hq: Tensor = (network or self.network)(lq)
        return hq.float()

    def blocks(self) -> list[nn.Module]:
        """List the residual blocks."""
        return _blocks(self.network)


class CausalSRTraining(TrainingFamily[CausalSRSpec]):
    """causal-sr, from nothing or from exported weights."""

    model = CausalSRModel
    has_ends = True

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> CausalSRModel:
        """Build the network; weights to begin with may be of a smaller one, which is widened."""
        torch.manual_seed(config.seed)
        network = self._network(config)
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        grown = {} if start_from is None else self._begin(network, start_from)
        return CausalSRModel(
            name=self.entry.name,
            scale=self.entry.scale,
            network=network,
            parts=CAUSAL_PARTS,
            autocast=autocast_of(config),
            one_step_timestep=self.entry.one_step_timestep,
            grown=grown,
        )

    def _begin(self, network: CausalSR, path: Path) -> dict[str, tuple[int, int]]:
        """Fill a network from a file and return the sizes in which it is larger than the file's."""
        tensors, own = one_end(read_tensors(path)), network.state_dict()
        if {name: value.shape for name, value in tensors.items()} == {name: value.shape for name, value in own.items()}:
            load_weights(network, path)
            return {}
        narrow = with_stored_sizes(self.entry.network, path)
        check_fit(build_empty(lambda: CausalSR(narrow)).state_dict(), tensors, path)
        widen(network, tensors, narrow)
        return changes(narrow, network.config)

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage; nothing is recomputed."""
        num_frames, side = crop_of(config, stage)
        with torch.device("meta"):
            network = self._network(config)
            lq = torch.empty(1, 3, num_frames, side, side)
        return StageSketch(network=network, parts=CAUSAL_PARTS, inputs=(lq,), blocks=_blocks(network))

    @property
    def weights_name(self) -> str:
        """That of the registry."""
        return self.entry.weights

    def _network(self, config: TrainConfig) -> CausalSR:
        return CausalSR(with_changes(self.entry.network, config.network))


def _blocks(network: nn.Module) -> list[nn.Module]:
    return list(network.get_submodule("blocks").children())
