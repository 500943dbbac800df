"""One clip's prompt and where it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starvsr.families.options import UpscaleOptions
from starvsr.families.settings import NO_TEXTS, PROMPT_SOURCES

CAPTION = "--caption"
"""The source of a prompt that a command gave."""

STAND_IN = "a video"
"""Stands for the answer of a command that is not asked, in plans."""


@dataclass(frozen=True)
class Prompt:
    """A prompt that is not given by ``--prompt``.

    Attributes:
        text: The prompt, in one line.
        source: Where it was found: the name of a file, or `CAPTION`.
        given: The options by which the user asked for it, as manifests keep them.
        record: What the journal of the job keeps of a caption; None for other sources.
        is_stand_in: The command was not asked: the text only serves to make the plan.
    """

    text: str
    source: str
    given: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] | None = None
    is_stand_in: bool = False

    def put_into(self, options: UpscaleOptions) -> UpscaleOptions:
        """Return the options with this prompt in place of where to find it."""
        nothing: dict[str, Any] = dict.fromkeys(PROMPT_SOURCES)
        return replace(options, prompt=self.text, **nothing)

    @property
    def note(self) -> str:
        """Say in a sentence what was used."""
        return f"prompt of {self.source}: {self.text}"


def given_options(options: UpscaleOptions) -> dict[str, Any]:
    """Return the options that say where prompts are found, as plain values; paths are absolute."""
    given = {name: getattr(options, name) for name in PROMPT_SOURCES if getattr(options, name) is not None}
    if given.get("prompt_from") not in (None, NO_TEXTS):
        given["prompt_from"] = str(Path(given["prompt_from"]).resolve())
    if "caption_timeout" in given:
        given["caption_timeout"] = str(given["caption_timeout"])
    return given


def kept_prompt(plan: Mapping[str, Any]) -> dict[Path, Prompt]:
    """Return the prompt that a manifest keeps, by the path of its input; captions are found in the journal.

    So a job is resumed with the text that it was begun with, wherever that lies now.
    """
    kept = plan.get("prompt")
    if kept is None or kept["source"] == CAPTION:
        return {}
    given = {name: value for name, value in plan["options"].items() if name in PROMPT_SOURCES}
    return {Path(plan["input"]["path"]): Prompt(kept["text"], kept["source"], given)}
