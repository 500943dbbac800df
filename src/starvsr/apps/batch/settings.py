"""What holds for a whole batch, as data that travels to workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from starvsr.errors import OptionError

REPORT = "report"


@dataclass(frozen=True)
class Bound:
    """A bound on a metric: a clip beyond it is marked for review.

    Args:
        metric: Name of the metric.
        value: The bound.
        side: "min": values below it are told; "max": values above it.
    """

    metric: str
    value: float
    side: Literal["min", "max"]

    def broken_by(self, value: float | None) -> str | None:
        """Say why a value breaks it; None when it does not."""
        if value is None:
            return f"{self.metric} has no value"
        if value < self.value if self.side == "min" else value > self.value:
            return f"{self.metric} is {value:.6g}, {'below' if self.side == 'min' else 'above'} {self.value:.6g}"
        return None


def bound_of(word: str, side: Literal["min", "max"]) -> Bound:
    """Read ``METRIC=VALUE``.

    Raises:
        OptionError: It is none.
    """
    metric, sign, text = word.partition("=")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not sign or not metric or value != value:
        raise OptionError(f"--{side} {word}: give METRIC=VALUE, as in --{side} consistency_lq_db=30")
    return Bound(metric.strip(), value, side)


@dataclass(frozen=True)
class WorkSettings:
    """What workers are told once.

    Args:
        destination: Address of the folder that results go to.
        scratch: Folder for unfinished work.
        device: As for `starvsr upscale`.
        threads: Processor threads of each worker; None: as many as the system allows.
        metrics: What is measured on results.
        bounds: What marks a clip for review.
        overwrite: Replace outputs that are there.
        share_seconds: Length of the shares that long clips are cut into; None: a clip stays with one worker.
        warm_up: Options of the model that a worker loads before its first order.
    """

    destination: str
    scratch: str
    device: str = "auto"
    threads: int | None = None
    metrics: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()
    overwrite: bool = False
    share_seconds: float | None = None
    warm_up: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WorkSettings:
        """Return the settings of plain values."""
        bounds = tuple(Bound(**bound) for bound in values["bounds"])
        return cls(**{**values, "metrics": tuple(values["metrics"]), "bounds": bounds})
