"""Temporal conditioning: a frame is denoised under the guidance of its neighbour's estimate at the same timestep.

Source: StableVSR (arXiv 2311.15908) and its released training: neighbour and frame share a timestep, the neighbour's
estimate is made by the frozen UNet alone, decoded, warped onto the frame and detached; the TCM learns the prediction
of the frame. ``guidance.chain`` above 1 closes the gap to sampling, where all neighbours but the first of a pass were
guided themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.data.pool import Batch
from starvsr.errors import DataError
from starvsr.training.objectives.objective import Auxiliary, Objective, StepOutput
from starvsr.training.objectives.tables import TemporalConditioningStage
from starvsr.training.temporal_conditioning import TemporalConditioningModel


@dataclass(frozen=True)
class Draws:
    """What is random in a step but for the order of the frames.

    Attributes:
        t: int64 [B], the timestep that all frames of a sample share.
        posterior: unit noise of the encoder for each frame of the chain, K+1 times [B, C, h, w].
        noise: unit noise that is added to the latents of each frame, K+1 times [B, C, h, w].
    """

    t: Tensor
    posterior: Sequence[Tensor]
    noise: Sequence[Tensor]


@dataclass(frozen=True)
class Conditioned:
    """A step's prediction and all that led to it; lists have one entry for each frame of the chain.

    Attributes:
        latents: clean latents [B, C, h, w].
        noisy: latents at the timestep.
        predictions: of the frames before (without gradient), and last that of the frame.
        estimates: clean latents as estimated for the frames before.
        guides: what the second frame of the chain and the ones after it were told, [B, 3, 4h, 4w].
        target: what the last prediction is to be.
    """

    latents: list[Tensor]
    noisy: list[Tensor]
    predictions: list[Tensor]
    estimates: list[Tensor]
    guides: list[Tensor]
    target: Tensor

    @property
    def loss(self) -> Tensor:
        """Mean squared error over everything."""
        return F.mse_loss(self.predictions[-1], self.target)


def conditioned_prediction(
    model: TemporalConditioningModel, lq: Sequence[Tensor], gt: Sequence[Tensor], draws: Draws
) -> Conditioned:
    """Predict the last frame of a chain, each frame but the first guided by the one before.

    Args:
        model: TCM and what it is trained with.
        lq: K+1 neighbouring frames in the order in which they are denoised, each [B, 3, h, w] in [-1, 1].
        gt: the sharp ones, [B, 3, 4h, 4w].
        draws: what is random.
    """
    latents = [model.encode(picture, noise) for picture, noise in zip(gt, draws.posterior, strict=True)]
    noisy = [model.schedule.add_noise(clean, noise, draws.t) for clean, noise in zip(latents, draws.noise, strict=True)]
    predictions: list[Tensor] = []
    estimates: list[Tensor] = []
    guides: list[Tensor] = []
    last = len(lq) - 1
    for index, frame in enumerate(lq):
        if index:
            guides.append(model.guide(estimates[-1], frame, lq[index - 1]))
        with torch.set_grad_enabled(index == last and torch.is_grad_enabled()):
            predictions.append(model.predict(noisy[index], frame, draws.t, guides[-1] if index else None))
        if index < last:
            estimates.append(model.clean(predictions[-1], noisy[index], draws.t))
    target = model.target(latents[-1], draws.noise[-1], draws.t)
    return Conditioned(latents, noisy, predictions, estimates, guides, target)


def chain_frames(clip: Tensor, forwards: Sequence[bool], chain: int) -> list[Tensor]:
    """Take the frames of each sample's chain out of clips.

    Args:
        clip: [B, C, T, H, W].
        forwards: for each sample whether its chain runs from its first frames on, or from its last ones back.
        chain: K, frames before the one that is learned from.

    Returns:
        K+1 tensors [B, C, H, W].

    Raises:
        DataError: the clips have fewer than K+1 frames.
    """
    num_frames = clip.shape[2]
    if not 1 <= chain < num_frames:
        raise DataError(
            f"a chain of {chain} frames and the one that they guide do not fit into samples of {num_frames} frames: "
            "raise num_frames, or lower guidance.chain (at least 1)"
        )
    rows = torch.arange(len(clip))
    return [
        clip[rows, :, torch.tensor([k if forward else num_frames - 1 - k for forward in forwards])]
        for k in range(chain + 1)
    ]


def temporal_conditioning(
    model: TemporalConditioningModel,
    batch: Batch,
    tables: TemporalConditioningStage,
    auxiliary: Auxiliary,
    rng: torch.Generator,
) -> StepOutput:
    """Predict a frame of each sample under the guidance of its neighbour before or after it."""
    lq_clip, gt_clip, chain = batch["lq"], batch["gt"], tables.guidance.chain
    count, _, _, height, width = lq_clip.shape
    forwards = (torch.rand(count, generator=rng) < 0.5).tolist()
    t = torch.randint(0, model.schedule.num_levels, (count,), generator=rng)
    shape = (2, chain + 1, count, model.latent_channels, height, width)
    posterior, noise = torch.randn(shape, generator=rng).to(lq_clip.device).unbind()
    lq, gt = chain_frames(lq_clip, forwards, chain), chain_frames(gt_clip, forwards, chain)
    made = conditioned_prediction(model, lq, gt, Draws(t, posterior.unbind(), noise.unbind()))
    return StepOutput({"prediction": tables.losses.prediction * made.loss})


TEMPORAL_CONDITIONING = Objective(
    model=TemporalConditioningModel,
    tables=TemporalConditioningStage,
    compute=temporal_conditioning,
    teaches_all_levels=True,
    decodes=lambda tables: False,
)
