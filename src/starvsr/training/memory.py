"""How much memory a training run of a large network needs, found without allocating it.

The network is built on torch's meta device, where tensors have shapes and no values, and run once: what autograd
would keep for the backward pass is counted as it is handed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.registry import PUBLISHED, get_spec
from starvsr.models.star_encoder import StarEncoder, StarUNetConfig
from starvsr.models.star_encoder import _run as run_parts
from starvsr.models.star_unet import StarUNet
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.objectives import choose_trained
from starvsr.training.processes import blocks_of
from starvsr.training.trainee import network_config

GIB = 2**30


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes per device, and what they come from."""

    parameters: int
    """Values of the whole network."""
    trained: int
    """Values that the stage trains."""
    devices: int
    weights: int
    """Float32 weights, split over the devices."""
    average: int
    gradients: int
    optimizer: int
    """Two moments of Adam."""
    gathered: int
    """The largest block, whole, in float32 and in the type of computation, while it runs and the next one comes."""
    activations: int
    """What the backward pass needs of one clip."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Values of the blocks, largest first."""

    @property
    def total(self) -> int:
        """Bytes of one device."""
        return self.weights + self.average + self.gradients + self.optimizer + self.gathered + self.activations

    def table(self, device_gib: float) -> str:
        """Lay the plan out and say whether it fits."""
        rows = [
            ("weights (float32)", self.weights),
            ("average (float32)", self.average),
            ("gradients of what trains", self.gradients),
            ("AdamW", self.optimizer),
            ("block at work, and the next", self.gathered),
            ("activations of one clip", self.activations),
            ("total", self.total),
        ]
        lines = [
            f"{self.parameters:,} values, {self.trained:,} trained, {self.devices} device(s)",
            *(f"  {name:<28} {size / GIB:8.2f} GiB" for name, size in rows),
        ]
        spare = device_gib - self.total / GIB
        verdict = f"fits {device_gib:g} GiB with {spare:.1f} to spare" if spare > 0 else f"needs {-spare:.1f} GiB more"
        return "\n".join([*lines, f"Per device: {verdict} (text encoder, codec and fragmentation not counted)"])


def plan_recipe(config: TrainConfig, devices: int) -> list[MemoryPlan]:
    """Plan each stage of a recipe, one clip per device.

    The network is that of the recipe's model, published ones included; their latents are an eighth of the GT in
    size, those of star-small as large as the LQ.
    """
    published = PUBLISHED.get(config.model)
    spec = published or get_spec(config.model)
    unet = network_config(spec.unet, config.network)
    plans = []
    for stage in config.stage:
        lq = stage.lq_crop or config.data.lq_crop
        height = width = lq * 4 // 8 if published else lq
        height += (2 - height) % unet.row_step
        width += -width % unet.row_step
        plan = plan_memory(
            unet,
            stage,
            num_frames=stage.num_frames or config.data.num_frames,
            latent_size=(height, width),
            devices=devices,
            checkpointing=config.run.activation_checkpointing,
            bytes_per_value=2 if config.run.precision == "bf16" else 4,
        )
        plans.append(plan)
    return plans


def plan_memory(
    config: StarUNetConfig,
    stage: StageConfig,
    *,
    num_frames: int,
    latent_size: tuple[int, int],
    devices: int = 8,
    checkpointing: bool = True,
    context_tokens: int = 77,
    bytes_per_value: int = 2,
) -> MemoryPlan:
    """Plan one clip per device under FSDP.

    Args:
        config: the network.
        stage: tells what trains.
        num_frames: T.
        latent_size: (h, w); h must be 2 and w 0 modulo the network's ``row_step``.
        devices: processes that share weights, gradients and optimiser.
        checkpointing: whether blocks are recomputed in the backward pass.
        context_tokens: L.
        bytes_per_value: 2 for bfloat16 autocast, 4 for float32.
    """
    with torch.device("meta"):
        network = StarUNet(config)
    names = choose_trained(network, stage)
    parameters = dict(network.named_parameters())
    trained = sum(parameters[name].numel() for name in names)
    total = sum(parameter.numel() for parameter in parameters.values())
    blocks = _block_sizes(network)
    activations = _activations(network, num_frames, latent_size, context_tokens, checkpointing)
    largest = max(blocks.values())
    return MemoryPlan(
        parameters=total,
        trained=trained,
        devices=devices,
        weights=4 * total // devices,
        average=4 * total // devices,
        gradients=4 * trained // devices,
        optimizer=8 * trained // devices,
        gathered=(0 if devices == 1 else 2 * largest * 4) + largest * bytes_per_value,
        activations=activations * bytes_per_value // 4,
        blocks=blocks,
    )


def _block_sizes(network: nn.Module) -> dict[str, int]:
    chosen = {id(block) for block in blocks_of(network)}
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in network.named_modules() if id(m) in chosen}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _activations(
    network: StarUNet, num_frames: int, size: tuple[int, int], context_tokens: int, checkpointing: bool
) -> int:
    """Count float32 bytes that autograd keeps for one clip.

    With checkpointing: the inputs of all blocks, and the inside of the hungriest one.
    """
    config = network.config
    x = torch.empty(1, config.in_channels, num_frames, *size, device="meta")
    context = torch.empty(1, context_tokens, config.context_dim, device="meta")
    t = torch.zeros(1, dtype=torch.long, device="meta")
    inputs: dict[int, Tensor] = {}
    inner: list[int] = []

    def run_alone(block: nn.Module, features: Tensor, *others: Any) -> Tensor:
        inputs[features.untyped_storage()._cdata] = features
        with _counted(block) as inside:
            out = run_parts(block, features, *others)
        inner.append(sum(inside.values()))
        return out

    encoders = [module for module in network.modules() if isinstance(module, StarEncoder)]
    with ExitStack() as stack:
        if checkpointing:
            for encoder in encoders:
                stack.enter_context(mock.patch.object(encoder, "run_block", run_alone))
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", _flash_shapes))
        kept = stack.enter_context(_counted(network))
        network(x, t, context, x)
    held = sum(features.untyped_storage().nbytes() for features in inputs.values())
    return sum(kept.values()) + held + max(inner, default=0)


class _FlashShapes(torch.autograd.Function):
    """Keeps for the backward pass what a flash attention keeps: no table of every token against every other."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1]))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError("shapes only")


def _flash_shapes(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    out: Tensor = _FlashShapes.apply(query, key, value)
    return out


@contextmanager
def _counted(module: nn.Module) -> Iterator[dict[int, int]]:
    """Collect {storage: bytes} of tensors that autograd keeps, weights left out."""
    own = {id(parameter) for parameter in module.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        base = tensor._base if tensor._base is not None else tensor
        if id(base) not in own:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # a freed storage's number could be given to another one
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
