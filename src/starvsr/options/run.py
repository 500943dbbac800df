"""Where the job computes, and what stops it."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import RUN, option


@dataclass(frozen=True)
class RunOptions:
    """Where the job computes, and what stops it."""

    device: str = option("auto", "Where to compute: auto, cpu, cuda, cuda:1, mps, ...", RUN, "text")
    threads: int | None = option(
        None,
        "Processor threads for the network (default: all cores that the process may use).",
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
