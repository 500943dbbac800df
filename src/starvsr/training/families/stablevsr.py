"""Training of StableVSR's temporal conditioning module; all else of the model is frozen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import DataError
from starvsr.families.stablevsr.configuration import read_scheduler
from starvsr.families.stablevsr.diffusers_parts import load_network
from starvsr.families.stablevsr.load import encode_text
from starvsr.families.stablevsr.spec import LAYOUT, StableVSRSpec
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import load_raft
from starvsr.models.weights import digest
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.diffusers_folder import TENSORS, link_or_copy, write_network
from starvsr.training.families.stablevsr_parts import (
    build_tcm,
    check_objectives,
    find_fixed,
    network_sizes,
    tcm_sizes,
)
from starvsr.training.family import TrainingFamily, autocast_of, crop_of
from starvsr.training.frozen_upscaler import conditioned
from starvsr.training.model import Start
from starvsr.training.objectives.tables import TemporalConditioningStage
from starvsr.training.parts import NamedParts
from starvsr.training.sketch import Checkpoint, StageSketch
from starvsr.training.temporal_conditioning import TemporalConditioningModel

OBJECTIVE = "temporal-conditioning"
NUM_STEPS = 50
TCM_PARTS = NamedParts()
SKETCH_PARTS = NamedParts(parts={"all": lambda name: name.startswith("tcm.")})
"""Of the network that a memory plan counts, which has the frozen UNet inside."""


class StableVSRTraining(TrainingFamily[StableVSRSpec]):
    """The TCM, from the UNet's encoder, from the released one or from another run."""

    model = TemporalConditioningModel
    reads_published = True
    writes_folder = True

    def check(self, config: TrainConfig) -> None:
        """Refuse what the TCM is not trained with; see the base class."""
        check_objectives(config, OBJECTIVE)
        super().check(config)
        for number, stage in enumerate(config.stage):
            frames, chain = crop_of(config, stage)[0], stage.tables.guidance.chain
            if not 1 <= chain < frames:
                raise DataError(
                    f"stage.{number}.guidance.chain = {chain} does not fit into samples of {frames} frames: raise "
                    "num_frames above it, or lower it to at least 1"
                )
        if len({stage.tables.guidance.flow for stage in config.stage}) > 1:
            raise DataError("recipe key guidance.flow must be the same in all stages")
        if config.run.parallel == "fsdp":
            raise DataError(f'{config.model} trains with run.parallel = "data": a TCM and its optimiser fit one device')

    def build(
        self,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        *,
        start_from: Path | None = None,
        begun: Start | None = None,
    ) -> TemporalConditioningModel:
        """Build the TCM and load the frozen parts beside it."""
        word = config.init if start_from is None else str(start_from.resolve())
        files = find_fixed(self.entry, config)
        start = Start(word if begun is None else begun.word, files["unet"], digest(files["unet"]))
        if begun is not None and begun.digest != start.digest:
            raise DataError(
                f"{files['unet']} is another UNet than the run began with (SHA-256 {start.digest}, then "
                f"{begun.digest}): put that one back, or begin in another folder"
            )
        flow = _estimator(config, str(device))
        unet = load_network(files, "unet").to(device)
        tcm = build_tcm(unet, config, files, start.word)
        if config.run.activation_checkpointing:
            for network in (unet, tcm):
                network.enable_gradient_checkpointing()
        return TemporalConditioningModel(
            name=self.entry.name,
            scale=self.entry.scale,
            network=tcm.requires_grad_(True).to(device),
            parts=TCM_PARTS,
            unet=unet,
            vae=load_network(files, "vae").to(device),
            text=encode_text(files, "").to(device),
            scheduler=read_scheduler(files),
            flow=flow,
            autocast=autocast_of(config),
            validation_steps=NUM_STEPS,
            start=start,
        )

    def sketch(self, config: TrainConfig, stage: StageConfig) -> StageSketch:
        """Sketch a stage: the gradient runs through the TCM and the decoder half of the frozen UNet."""
        import diffusers

        sizes, batch, side = network_sizes(self.entry, config), config.data.batch, crop_of(config, stage)[1]
        with torch.device("meta"):
            unet: Any = diffusers.UNet2DConditionModel.from_config(sizes["unet"])
            vae: Any = diffusers.AutoencoderKL.from_config(sizes["vae"])
            channels = tcm_sizes(config).conditioning_channels
            tcm: Any = diffusers.ControlNetModel.from_unet(
                unet, conditioning_embedding_out_channels=channels, load_weights_from_unet=False
            )
            unet.requires_grad_(False)
            network = _Conditioned(tcm, unet)
            latents = torch.empty(batch, unet.config.in_channels, side, side)
            t = torch.zeros(batch, dtype=torch.long)
            text = torch.empty(batch, 77, unet.config.cross_attention_dim)
            guide = torch.empty(batch, 3, side * self.entry.scale, side * self.entry.scale)
        return StageSketch(
            network=network,
            parts=SKETCH_PARTS,
            inputs=(latents, t, text, guide),
            blocks=[*tcm.down_blocks, tcm.mid_block],
            recompute=network.recompute,
            fixed=sum(4 * parameter.numel() for parameter in vae.parameters()),
            clips=batch,
        )

    @property
    def weights_name(self) -> str:
        """Name of the model folder that an export writes."""
        return self.entry.name

    def write(
        self,
        path: Path,
        tensors: dict[str, Tensor],
        config: TrainConfig,
        start: Start | None,
        metadata: Mapping[str, str],
    ) -> Path:
        """Write a whole model folder: the trained TCM, and the frozen parts as links where the file system has them."""
        files = find_fixed(self.entry, config)
        if start is not None and start.digest != digest(files["unet"]):
            raise DataError(f"{files['unet']} is another UNet than the run began with: put that one back")
        unet = load_network(files, "unet")
        tcm = build_tcm(unet, config, files, start.word if start is not None else config.init)
        write_network(path / "controlnet", tcm, tensors)
        for role, place in LAYOUT.items():
            if role.partition("/")[0] != "tcm" and role in files:
                link_or_copy(files[role], path / place)
        index = {"_class_name": self.entry.folder_class, **MODEL_INDEX}
        (path / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        return path / "controlnet" / TENSORS


MODEL_INDEX: dict[str, Any] = {
    "controlnet": ["diffusers", "ControlNetModel"],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
"""What `model_index.json` says of the parts, as in the published folder."""


class _Conditioned(nn.Module):
    """TCM and UNet as a step with gradient runs them."""

    def __init__(self, tcm: Any, unet: Any) -> None:
        super().__init__()
        self.tcm, self.unet = tcm, unet

    def forward(self, inputs: Tensor, t: Tensor, text: Tensor, guide: Tensor) -> Tensor:
        return conditioned(self.unet, self.tcm, inputs, t, text, guide)

    def recompute(self, checkpoint: Checkpoint) -> None:
        """Run blocks by a checkpoint function, see :class:`StageSketch`."""

        def run(block: nn.Module, features: Tensor, *others: Any) -> Any:
            return checkpoint(_call, block, features, *others, use_reentrant=False)

        for network in (self.tcm, self.unet):
            network.enable_gradient_checkpointing(run)


def _call(block: nn.Module, features: Tensor, *others: Any) -> Any:
    return block(features, *others)


def _estimator(config: TrainConfig, device: str) -> FlowEstimator:
    tables: TemporalConditioningStage = config.stage[0].tables
    return DisFlow() if tables.guidance.flow == "dis" else load_raft(device)
