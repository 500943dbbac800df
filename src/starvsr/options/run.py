"""Where the job computes, and what stops it."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError
from starvsr.options.info import RUN, option


@dataclass(frozen=True)
class RunOptions:
    """Where the job computes, and what stops it."""

    device: str = option("auto", "Where to compute: auto, cpu, cuda, cuda:1, mps, ...", RUN, "text")
    devices: str | None = option(
        None,
        "Devices to compute on side by side, with a process for each, as cuda:0,cuda:1; changes no byte.",
        RUN,
        "text",
    )
    processes: int | None = option(
        None,
        "Compute segments of a video side by side in up to N processes, each with the model; changes no byte.",
        RUN,
        "int",
        minimum=1,
        maximum=64,
    )
    threads: int | None = option(
        None,
        "Processor threads for the network, in each process (default: all cores that the process may use).",
        RUN,
        "int",
        minimum=1,
        maximum=1024,
    )
    on_error: str = option(
        "stop",
        "With several inputs, when one fails: stop, or skip it and continue.",
        RUN,
        "text",
        choices=("stop", "skip"),
    )


def check_run(options: RunOptions) -> None:
    """Refuse values that contradict each other.

    Raises:
        OptionError: So they do.
    """
    if options.devices is not None and options.device != "auto":
        raise OptionError("--device and --devices both say where to compute: give one of them")
    if options.devices is not None and options.processes is not None:
        raise OptionError(
            "--devices starts a process for each device: leave out --processes, or name a device twice to have two "
            "processes on it"
        )
