"""How much memory a training run of a large network needs, found without allocating it.

The network is built on torch's meta device, where tensors have shapes and no values, and run once: what autograd
would keep for the backward pass is counted as it is saved (`starvsr.offload.trace`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families import family_of
from starvsr.training.freezing import choose_trained, constant_names
from starvsr.training.sketch import StageSketch, kept_bytes

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
    """What the backward pass needs of ``clips``."""
    fixed: int = 0
    """VAE and text tower, whole on every device."""
    decoding: int = 0
    """What the backward pass of the VAE's decoder needs of one slice of frames, in float32."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Values of the blocks, largest first."""
    clips: int = 1
    """Clips that a device computes at once."""

    @property
    def total(self) -> int:
        """Bytes of one device."""
        split = self.weights + self.average + self.gradients + self.optimizer
        return split + self.gathered + self.activations + self.fixed + self.decoding

    def table(self, device_gib: float) -> str:
        """Format the plan as a table, with a verdict on whether it fits."""
        rows = [
            ("weights", self.weights),
            ("average of what trains", self.average),
            ("gradients of what trains", self.gradients),
            ("AdamW", self.optimizer),
            ("block at work, and the next", self.gathered),
            ("activations of one clip" if self.clips == 1 else f"activations of {self.clips} clips", self.activations),
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
    """Plan each stage of a recipe; the devices share what a step holds if the recipe says so (FSDP).

    Raises:
        OptionError: the recipe's model has nothing to train.
        DataError: the recipe asks for what the model does not have.
    """
    family = family_of(config.model, config.stage[0].objective)
    family.check(config)
    plans = []
    for stage in config.stage:
        sketch = family.sketch(config, stage)
        plans.append(
            plan_memory(
                sketch,
                stage,
                devices=devices if config.run.parallel == "fsdp" else 1,
                checkpointing=config.run.activation_checkpointing,
                bytes_per_value=2 if config.run.precision == "bf16" else 4,
                constant=constant_names(sketch.network, sketch.parts, config.stage),
            )
        )
    return plans


def plan_memory(
    sketch: StageSketch,
    stage: StageConfig,
    *,
    devices: int = 8,
    checkpointing: bool = True,
    bytes_per_value: int = 2,
    constant: Collection[str] = (),
) -> TrainingMemory:
    """Plan one clip per device under FSDP.

    Args:
        sketch: the stage on the meta device.
        stage: which parts train.
        devices: processes that share weights, gradients and optimiser.
        checkpointing: whether blocks are recomputed in the backward pass.
        bytes_per_value: 2 for bfloat16 autocast, 4 for float32.
        constant: names that no stage trains; they have no average.
    """
    network = sketch.network
    names = choose_trained(network, sketch.parts, stage)
    parameters = dict(network.named_parameters())
    trained = sum(parameters[name].numel() for name in names)
    total = sum(parameter.numel() for parameter in parameters.values())
    kept = sum(parameters[name].numel() for name in constant)
    halved = sum(parameters[name].numel() for name in constant if parameters[name].ndim > 1)
    constant_bytes = bytes_per_value if sketch.halves_constant else 4
    blocks = _block_sizes(sketch)
    activations = kept_bytes(network, sketch.inputs, sketch.recompute if checkpointing else None)
    largest = max(blocks.values(), default=0)
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
        fixed=sketch.fixed,
        decoding=sketch.decoding,
        blocks=blocks,
        clips=sketch.clips,
    )


def _block_sizes(sketch: StageSketch) -> dict[str, int]:
    chosen = {id(block) for block in sketch.blocks}
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in sketch.network.named_modules() if id(m) in chosen}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
