"""All metrics, in one list: a new one is a line here and a module beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starvsr.errors import OptionError, StarVsrError
from starvsr.metrics.color_drift import COLOR_DRIFT, COLOR_DRIFT_LQ, COLOR_ERROR, COLOR_ERROR_LQ
from starvsr.metrics.consistency import ADDED_DETAIL, CONSISTENCY
from starvsr.metrics.dists import DISTS
from starvsr.metrics.dover.metrics import DOVER, DOVER_AESTHETIC, DOVER_TECHNICAL
from starvsr.metrics.fidelity import PSNR_RGB, PSNR_Y, PSNR_Y_FULL, SSIM_RGB, SSIM_Y
from starvsr.metrics.flow_choice import FlowName, check_flow
from starvsr.metrics.ilniqe import ILNIQE
from starvsr.metrics.lpips import LPIPS_ALEX, LPIPS_VGG, TLPIPS
from starvsr.metrics.metric import Metric
from starvsr.metrics.multiscale_ssim import MS_SSIM
from starvsr.metrics.niqe import NIQE, NIQE_FULL
from starvsr.metrics.pyiqa_backend import CLIPIQA, MUSIQ
from starvsr.metrics.sampled import every_nth, split_name
from starvsr.metrics.seams import SEAM_LINES, SEAM_LINES_LQ, SEAM_STEPS, SEAM_STEPS_LQ
from starvsr.metrics.still_flicker import STILL_FLICKER, STILL_FLICKER_LQ
from starvsr.metrics.temporal import WARPING_ERROR
from starvsr.metrics.temporal_change import TOF
from starvsr.metrics.texture import DETAIL_CORRELATION, DETAIL_SHARE, WEAVE
from starvsr.metrics.vgg_distance import VGG_DISTANCE, VGG_DISTANCE_BF16
from starvsr.metrics.vgg_sampled import VGG_DISTANCE_SAMPLED, VGG_DISTANCE_SAMPLED_ERROR
from starvsr.metrics.vmaf import VMAF, VMAF_NEG
from starvsr.models.flow.estimator import FlowEstimator

METRICS: list[Metric] = [
    PSNR_Y,
    PSNR_Y_FULL,
    PSNR_RGB,
    SSIM_Y,
    SSIM_RGB,
    MS_SSIM,
    VMAF_NEG,
    VMAF,
    WARPING_ERROR,
    TOF,
    TLPIPS,
    LPIPS_ALEX,
    LPIPS_VGG,
    DISTS,
    NIQE,
    NIQE_FULL,
    ILNIQE,
    DOVER,
    DOVER_TECHNICAL,
    DOVER_AESTHETIC,
    MUSIQ,
    CLIPIQA,
    VGG_DISTANCE,
    VGG_DISTANCE_BF16,
    VGG_DISTANCE_SAMPLED,
    VGG_DISTANCE_SAMPLED_ERROR,
    STILL_FLICKER,
    STILL_FLICKER_LQ,
    COLOR_ERROR,
    COLOR_DRIFT,
    COLOR_DRIFT_LQ,
    COLOR_ERROR_LQ,
    CONSISTENCY,
    ADDED_DETAIL,
    SEAM_LINES,
    SEAM_STEPS,
    SEAM_LINES_LQ,
    SEAM_STEPS_LQ,
    DETAIL_SHARE,
    DETAIL_CORRELATION,
    WEAVE,
]

DEFAULT_METRICS = (PSNR_Y, SSIM_Y, VMAF_NEG, WARPING_ERROR)
"""What an evaluation measures by default."""


@dataclass(frozen=True)
class Availability:
    """Metrics by whether they can be computed on this machine.

    Attributes:
        usable: those that can.
        missing: name of each other one, and why it cannot be and what to do about it.
    """

    usable: list[Metric]
    missing: dict[str, str]


def available(wanted: Sequence[str | Metric], flow: FlowName | FlowEstimator | None = None) -> Availability:
    """Choose metrics and sort out those whose packages or weights are missing, so that the rest can be measured.

    Args:
        wanted: metrics, or their names.
        flow: the optical flow that they are going to rest on, as in :func:`~starvsr.metrics.evaluate.measure`.

    Raises:
        OptionError: as :func:`choose_metrics`.
    """
    usable: list[Metric] = []
    missing: dict[str, str] = {}
    for metric in choose_metrics(wanted):
        try:
            metric.check()
            if metric.needs & {"flow", "motion"}:
                check_flow(flow)
        except StarVsrError as error:
            missing[metric.name] = str(error)
        else:
            usable.append(metric)
    return Availability(usable, missing)


def choose_metrics(wanted: Sequence[str | Metric]) -> list[Metric]:
    """Return metrics by their names; metrics themselves may stand among them.

    Args:
        wanted: names; ``vgg_distance@8`` looks at every 8th frame (:mod:`starvsr.metrics.sampled`).

    Raises:
        OptionError: an unknown name, one name twice, or a metric that cannot leave out frames.
    """
    chosen = [metric_by_name(one) if isinstance(one, str) else one for one in wanted]
    names = [metric.name for metric in chosen]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OptionError(f"the metric {twice[0]} is asked for twice: name it once")
    return chosen


def metric_by_name(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        OptionError: an unknown name, or a metric that cannot leave out frames.
    """
    known = {metric.name: metric for metric in METRICS}
    plain, step = split_name(name)
    if plain not in known:
        raise OptionError(f"unknown metric {name!r}: choose from {', '.join(known)}")
    return every_nth(known[plain], step)
