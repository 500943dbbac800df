"""From the widgets of a node to options of a job. Loads no torch."""

from __future__ import annotations

from typing import Any

from starvsr.errors import OptionError
from starvsr.families.options import default_of, option_infos

HELP = (
    "More options of the `starvsr upscale` command, one on each line as name=value: segment=16, tile=256, "
    "memory=6GB, color=wavelet, scene_cuts=false, guidance=6, ..."
)


def job_options(
    *, scale: float, detail: float, steps: int, seed: int, prompt: str = "", more: str = ""
) -> dict[str, Any]:
    """Return options by name; what is at its default is left out.

    Args:
        scale: How many times larger.
        detail: Share of the model's own detail, 0 to 1; 1 is as without it.
        steps: Sampling steps; 0 is the model's own number.
        seed: Of the noise.
        prompt: Text for models that read one.
        more: Lines of ``name=value``; empty lines and those that begin with # are passed over.

    Raises:
        OptionError: A line is no option, or names one that the node has already.
    """
    values: dict[str, Any] = {"scale": scale}
    if detail < 1:
        values["detail"] = detail
    if steps:
        values["steps"] = steps
    if seed:
        values["seed"] = seed
    if prompt.strip():
        values["prompt"] = prompt.strip()
    for name, value in _lines(more):
        if name in ("scale", "detail", "steps", "seed", "prompt", "model", "weights", "precision", "device"):
            raise OptionError(f"options: {name} has an input of its own on the nodes: set it there")
        values[name] = value
    return values


def _lines(text: str) -> list[tuple[str, Any]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        name, equals, value = (word.strip() for word in words.partition("="))
        if not equals or not name:
            raise OptionError(f"options, line {number}: {words!r} is no option: write name=value, as segment=16")
        name = name.removeprefix("--").replace("-", "_")
        found.append((name, _typed(name, value)))
    return found


def _typed(name: str, value: str) -> Any:
    """Return a flag as bool; other words are brought to their type where options are made."""
    is_flag = any(known == name and info.kind == "flag" for known, info in option_infos())
    if not is_flag:
        return value
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if value.lower() not in words:
        raise OptionError(f"options: {name} is {value!r}: write {name}={str(not default_of(name)).lower()}")
    return words[value.lower()]
