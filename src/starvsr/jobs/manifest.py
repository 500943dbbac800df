"""What a job is: everything that its output's bytes depend on."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.errors import JobError
from starvsr.families.options import UpscaleOptions, option_infos
from starvsr.families.settings import PROMPT_SOURCES
from starvsr.jobs.executors import device_kind
from starvsr.jobs.fingerprint import fingerprint
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.job import Job
from starvsr.jobs.manifest_file import Plan
from starvsr.options import LIMITS, flag_name
from starvsr.version import __version__

FORMAT = 3
PART_SECONDS = 2
_FEWEST_FRAMES, _MOST_FRAMES = 8, 240
# options that change no byte of the output, or only through what is compared in their place: the digest of the
# weights, the device that was chosen, the cut that the memory led to
_FREE = frozenset(
    {"overwrite", "restart", "compare", "on_error", "threads", "processes", "devices", "device", "memory"}
)
_PATHS = frozenset(name for name, info in option_infos() if info.names_weights)
_FREE |= _PATHS
_FREE |= set(PROMPT_SOURCES)  # the prompt that was found is compared
# nor do these: the input passes them or is refused
_FREE |= {name for name, info in option_infos() if info.group == LIMITS}


def plan_of(job: Job) -> Plan:
    """Describe a prepared job.

    Raises:
        OSError: The input cannot be read.
    """
    options = {name: _plain(value) for name, value in job.options.changed().items() if name != "restart"}
    options |= {name: str(Path(options[name]).resolve()) for name in _PATHS & options.keys()}
    prompt: dict[str, Any] = {}
    if job.prompt is not None:
        del options["prompt"]
        options |= job.prompt.given
        prompt["prompt"] = {"text": job.prompt.text, "source": job.prompt.source}
    return {
        "format": FORMAT,
        "output": job.out.name if job.out.parent == job.folder.path.parent else f"{job.out.parent.name}/{job.out.name}",
        "input": {"path": str(job.info.path.resolve()), "kind": job.info.kind, **fingerprint(job.info)},
        "num_frames": job.num_frames,
        "size": [job.width, job.height],
        "model": {"name": job.upscaler.name, "weights_sha256": job.traits.digest, "steps": job.num_steps},
        "cut": {
            "length": job.plan.length,
            "overlap": job.plan.overlap,
            "crossfade": job.plan.crossfade,
            "tiles": [len(job.plan.grid.columns), len(job.plan.grid.rows)],
            **({} if job.plan.memory_plan is None else {"memory_plan": job.plan.memory_plan.as_dict()}),
        },
        "part_frames": part_frames(job.info.frame_rate),
        "encoding": job.encoding,
        "options": options,
        **prompt,
        "device": device_kind(job.device),
        "versions": versions(),
    }


def part_frames(frame_rate: Fraction) -> int:
    """Return from how many frames on a part is closed.

    Two seconds: what a kill can cost stays small, and a keyframe every two seconds costs a few per cent of size.
    """
    return max(_FEWEST_FRAMES, min(_MOST_FRAMES, round(PART_SECONDS * frame_rate)))


def versions() -> dict[str, str]:
    """Return the versions that bytes may depend on."""
    import numpy
    import torch

    from starvsr.video.read.opening import library_versions

    return {
        "starvsr": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        **library_versions(),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Fraction) else value


def digest_of(plan: Plan) -> str:
    """Return the SHA-256 of what must stay the same."""
    return hashlib.sha256(json.dumps(_binding(plan), sort_keys=True).encode()).hexdigest()


def _binding(plan: Plan) -> Plan:
    binding = {name: value for name, value in plan.items() if name not in ("num_frames", "prompt")}
    binding["input"] = {name: value for name, value in plan["input"].items() if name != "path"}
    binding["options"] = {n: v for n, v in _asked(plan).items() if n not in _FREE and n != "on_corrupt"}
    return binding


def _asked(plan: Plan) -> dict[str, Any]:
    """Return the options, with the prompt wherever it was found."""
    options: dict[str, Any] = plan["options"]
    return {**options, "prompt": plan["prompt"]["text"]} if "prompt" in plan else options


def differences(before: Plan, now: Plan) -> list[str]:
    """Describe what has changed; an empty list when the job can be resumed."""
    if before.get("format") != now["format"]:
        return ["it was begun by another version of starvsr"]
    found = []
    if _binding(before)["input"] != _binding(now)["input"]:
        sizes = (before["input"]["bytes"], now["input"]["bytes"])
        how = f"{sizes[0]} bytes before, {sizes[1]} now" if sizes[0] != sizes[1] else "same size, other content"
        found.append(f"the input has changed ({how})")
    found += _option_differences(_asked(before), _asked(now))
    for name in ("model", "cut", "versions"):
        found += _differences(name if name != "versions" else "version of", before[name], now[name])
    for name in ("output", "size", "encoding", "device", "part_frames"):
        found += _difference(name.replace("_", " "), before[name], now[name])
    return found


def _option_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    defaults = {name: _plain(value) for name, value in UpscaleOptions().as_dict().items()}
    for name in (n for n in defaults if n not in _FREE):
        old, new = (values.get(name, defaults[name]) for values in (before, now))
        if name == "on_corrupt" and old == "error":  # nothing damaged was met so far
            continue
        found += _difference(flag_name(name), old, new)
    return found


def _differences(word: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = sorted({*before, *now})
    return [text for name in names for text in _difference(f"{word} {name}", before.get(name), now.get(name))]


def _difference(word: str, before: Any, now: Any) -> list[str]:
    return [] if before == now else [f"{word}: {_word(before)} before, {_word(now)} now"]


def _word(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


def refuse_changes(folder: JobFolder, found: list[str]) -> None:
    """Refuse to resume a job that has changed.

    Raises:
        JobError: ``found`` names differences.
    """
    if found:
        raise JobError(
            f"{folder.path}: an unfinished job of other settings: {'; '.join(found)}. Give the settings of before to "
            f"resume it, or --restart to begin anew"
        )
