"""The provenance record of an output: version, model, digest of its weights, options."""

from __future__ import annotations

import json
from typing import Any

from starvsr.families.options import option_infos
from starvsr.families.settings import PROMPT_SOURCES
from starvsr.jobs.job import Job
from starvsr.options import LIMITS
from starvsr.version import __version__

# the digest names the weights, and the rest changes no byte
_LEFT_OUT = frozenset(
    {"overwrite", "restart", "compare", "on_error", "threads", "processes", "devices", "model", "weights"}
)
_LEFT_OUT |= set(PROMPT_SOURCES)  # the prompt that was found is told
_PATHS = frozenset(name for name, info in option_infos() if info.names_weights)
_LEFT_OUT |= {name for name, info in option_infos() if info.group == LIMITS}


def provenance_of(job: Job) -> dict[str, Any]:
    """Return what made the output; of the options, those that differ from the defaults and may change a byte."""
    options = {
        name: value if isinstance(value, (int, float)) else _told(name, value)
        for name, value in job.options.changed().items()
        if name not in _LEFT_OUT
    }
    return {
        "software": f"starvsr {__version__}",
        "model": job.upscaler.name,
        "weights_sha256": job.traits.digest,
        "scale": job.scale,
        "steps": job.num_steps,
        "seed": job.settings.seed,
        "options": options,
        **({} if job.prompt is None else {"prompt_source": job.prompt.source}),
    }


def provenance_of_photos(first: Job) -> dict[str, Any]:
    """Return what made all photos of a folder, by the job of the first: no prompt where each has its own."""
    told = provenance_of(first)
    if first.prompt is not None:
        told["options"].pop("prompt")
        told["prompt_source"] = "one for each photo"
    return told


def _told(name: str, value: object) -> bool | str:
    """Return an option in words; of the path of weights only that it was given: the digest covers what lies there."""
    return True if name in _PATHS else str(value)


def provenance_text(job: Job) -> str:
    """Return the provenance as one line of JSON, for a tag of the output."""
    return json.dumps(provenance_of(job), separators=(",", ":"), ensure_ascii=False)
