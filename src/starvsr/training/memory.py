"""How much memory a training run of a large network needs, found without allocating it.

The network is built on torch's meta device, where tensors have shapes and no values, and run once: what autograd
would keep for the backward pass is counted as it is saved (`starvsr.offload.trace`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import OptionError
from starvsr.families.registry import get_entry
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.encoder import StarEncoder
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower
from starvsr.models.vae.temporal import TemporalVae
from starvsr.offload.trace import FusedAttention, saved_bytes
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.distributed import blocks_of
from starvsr.training.freezing import choose_trained, constant_names
from starvsr.training.published import is_matrix
from starvsr.training.trainee import network_config

GIB = 2**30


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes per device, and what they come from."""

    parameters: int
    """Values of the whole network."""
    trained: int
    """Values that the stage trains."""
    devices: int
    weights: int
    """Float32 weights of what trains, what stays in the type of the run; split over the devices."""
    average: int
    """Of what trains."""
    gradients: int
    optimizer: int
    """Two moments of Adam."""
    gathered: int
    """The largest block, whole, in float32 and in the type of computation, while it runs and the next one comes."""
    activations: int
    """What the backward pass needs of one clip."""
    fixed: int = 0
    """VAE and text tower, whole on every device."""
    decoding: int = 0
    """What the backward pass of the VAE's decoder needs of one slice of frames, in float32."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Values of the blocks, largest first."""

    @property
    def total(self) -> int:
        """Bytes of one device."""
        split = self.weights + self.average + self.gradients + self.optimizer
        return split + self.gathered + self.activations + self.fixed + self.decoding

    def table(self, device_gib: float) -> str:
        """Lay the plan out and say whether it fits."""
        rows = [
            ("weights", self.weights),
            ("average of what trains", self.average),
            ("gradients of what trains", self.gradients),
            ("AdamW", self.optimizer),
            ("block at work, and the next", self.gathered),
            ("activations of one clip", self.activations),
            ("VAE and text tower", self.fixed),
            ("a slice through the decoder", self.decoding),
            ("total", self.total),
        ]
        lines = [
            f"{self.parameters:,} values, {self.trained:,} trained, {self.devices} device(s)",
            *(f"  {name:<28} {size / GIB:8.2f} GiB" for name, size in rows),
        ]
        spare = device_gib - self.total / GIB
        verdict = f"fits {device_gib:g} GiB with {spare:.1f} to spare" if spare > 0 else f"needs {-spare:.1f} GiB more"
        return "\n".join([*lines, f"Per device: {verdict} (losses in pixels and fragmentation not counted)"])


def plan_recipe(config: TrainConfig, devices: int) -> list[TrainingMemory]:
    """Plan each stage of a recipe, one clip per device.

    The network is that of the recipe's model, published ones included; their latents are an eighth of the GT in
    size, those of star-small as large as the LQ.

    Raises:
        OptionError: the recipe trains no STAR network.
    """
    spec = get_entry(config.model)
    published = isinstance(spec, StarI2VGenSpec)
    if not isinstance(spec, StarI2VGenSpec | StarSmallSpec):
        raise OptionError(f"--plan is for STAR networks; {spec.name} has under 2 M parameters and fits anywhere")
    unet = network_config(spec.unet, config.network)
    plans = []
    with torch.device("meta"):
        constant = constant_names(StarUNet(unet), config.stage)
    small = 2 if config.run.precision == "bf16" else 4
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
            bytes_per_value=small,
            constant=constant,
            constant_bytes=small if published else 4,
        )
        if published:
            plan = dataclasses.replace(
                plan,
                fixed=_fixed_bytes(small),
                decoding=_decoding(config, stage, plan_frames(config, stage), (height, width)),
            )
        plans.append(plan)
    return plans


def plan_frames(config: TrainConfig, stage: StageConfig) -> int:
    """Return the frames that are decoded together in a stage."""
    return stage.decode_slice or stage.num_frames or config.data.num_frames


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
    constant: Collection[str] = (),
    constant_bytes: int = 4,
) -> TrainingMemory:
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
        constant: names that no stage trains; they have no average.
        constant_bytes: bytes of each value of a constant matrix.
    """
    with torch.device("meta"):
        network = StarUNet(config)
    names = choose_trained(network, stage)
    parameters = dict(network.named_parameters())
    trained = sum(parameters[name].numel() for name in names)
    total = sum(parameter.numel() for parameter in parameters.values())
    kept = sum(parameters[name].numel() for name in constant)
    halved = sum(parameters[name].numel() for name in constant if parameters[name].ndim > 1)
    blocks = _block_sizes(network)
    activations = _activations(network, num_frames, latent_size, context_tokens, checkpointing)
    largest = max(blocks.values())
    return TrainingMemory(
        parameters=total,
        trained=trained,
        devices=devices,
        weights=(4 * (total - halved) + constant_bytes * halved) // devices,
        average=4 * (total - kept) // devices,
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
    recorder = _BlockRecorder()
    for encoder in network.modules():
        if isinstance(encoder, StarEncoder) and checkpointing:
            encoder.activation_checkpointing, encoder.checkpoint = True, recorder
    with FusedAttention(), saved_bytes(network) as kept:
        network(x, t, context, x)
    return sum(kept.values()) + recorder.num_bytes


class _BlockRecorder:
    """Stands in for ``torch.utils.checkpoint.checkpoint`` and counts what recomputing a block keeps."""

    def __init__(self) -> None:
        self._inputs: dict[int, Tensor] = {}
        self._inside: list[int] = []

    def __call__(
        self, function: Callable[..., Tensor], block: nn.Module, features: Tensor, *others: Any, use_reentrant: bool
    ) -> Tensor:
        """Run a block, remembering its input and what autograd would keep inside it."""
        self._inputs[features.untyped_storage()._cdata] = features
        with saved_bytes(block) as inside:
            out = function(block, features, *others)
        self._inside.append(sum(inside.values()))
        return out

    @property
    def num_bytes(self) -> int:
        """The inputs of all blocks, and the inside of the one that keeps the most."""
        held = sum(features.untyped_storage().nbytes() for features in self._inputs.values())
        return held + max(self._inside, default=0)


def _fixed_bytes(matrix_bytes: int) -> int:
    """Return the bytes of VAE (float32) and text tower (matrices in the type of the run) at their published size."""
    with torch.device("meta"):
        vae, tower = TemporalVae(), TextTower()
    text = {name: value for name, value in tower.named_parameters()}
    halved = sum(value.numel() for name, value in text.items() if is_matrix(name, value))
    values = sum(value.numel() for value in [*vae.parameters(), *text.values()])
    return 4 * (values - halved) + matrix_bytes * halved


def _decoding(config: TrainConfig, stage: StageConfig, num_frames: int, size: tuple[int, int]) -> int:
    """Count float32 bytes that autograd keeps while one slice of frames goes through the decoder and back."""
    if stage.objective in ("velocity", "star") and not (stage.df_weight and stage.df_gradient):
        return 0
    with torch.device("meta"):
        decoder = TemporalVae().requires_grad_(False).decoder
        latents = torch.empty(num_frames, 4, *size, requires_grad=True)
    recorder = _BlockRecorder()
    if config.run.activation_checkpointing:
        decoder.activation_checkpointing, decoder.checkpoint = True, recorder
    with FusedAttention(), saved_bytes(decoder) as kept:
        decoder(latents)
    return sum(kept.values()) + recorder.num_bytes
