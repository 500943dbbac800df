"""What the preparation of jobs asks for prompts: those that were found before, and whether a command may be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.engine.upscaler import Upscaler
from starvsr.errors import CaptionError, PromptError, PromptTooLongError
from starvsr.families.loading import reads_text
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.prompts.captions import caption_in_job
from starvsr.jobs.prompts.find import Found, find_prompts
from starvsr.jobs.prompts.prompt import Prompt

if TYPE_CHECKING:
    from starvsr.video import VideoInfo


@dataclass(frozen=True)
class Prompts:
    """Where the prompts of jobs come from, beside their options.

    Attributes:
        found: Prompts of clips that were looked for together; others are looked for one by one.
        may_ask: Whether the command of ``--caption`` may be run; where not, something stands for its answer.
        on_ask: Called before it is run.
    """

    found: Mapping[Path, Found] = field(default_factory=dict)
    may_ask: bool = True
    on_ask: Callable[[], None] | None = None

    def written(self, clip: Path, options: UpscaleOptions) -> Prompt | None:
        """Return what people wrote about a clip; None where nobody did, or ``--prompt`` says it.

        Raises:
            PromptError: It cannot be read, is empty, or is missing where one was asked for.
        """
        found = self.found[clip] if clip in self.found else find_prompts([clip], options)[clip]
        if isinstance(found, PromptError):
            raise found
        return found

    def for_job(
        self, clip: Path, info: VideoInfo, out: Path, options: UpscaleOptions, upscaler: Upscaler | None
    ) -> Prompt | None:
        """Return the prompt of a job; None where its model reads none, or its options or the model name it.

        Args:
            clip: The input as the user named it.
            info: What it is.
            out: The output.
            options: What the user asked for.
            upscaler: The model, where it is loaded already.

        Raises:
            PromptError: There is no prompt where one was asked for, or it cannot be read.
            CaptionError: The command of ``--caption`` gives none.
            JobError: The unfinished job was begun with another command.
        """
        if not are_wanted(options, upscaler):
            return None
        written = self.written(clip, options)
        if written is not None or options.caption is None:
            return written
        return caption_in_job(info, out, options, may_ask=self.may_ask, on_ask=self.on_ask)


def are_wanted(options: UpscaleOptions, upscaler: Upscaler | None = None) -> bool:
    """Whether prompts are looked for: the model reads text, and neither ``--prompt`` nor its loading said which.

    Args:
        options: What the user asked for.
        upscaler: The model, where it is loaded already.
    """
    if options.prompt is not None or not reads_text(options, upscaler):
        return False
    if options.prompt_from is not None or options.caption is not None:
        return True
    return upscaler is None or upscaler.loaded_with.get("prompt") is None


@contextmanager
def source_told(prompt: Prompt | None) -> Iterator[None]:
    """Let an error on a prompt that is too long tell where the prompt was found."""
    try:
        yield
    except PromptTooLongError as error:
        if prompt is None or error.text != prompt.text:
            raise
        if prompt.record is None:
            where = f"{prompt.source}: the prompt"
            raise PromptTooLongError(error.text, error.num_tokens, error.limit, where) from None
        raise CaptionError(
            f"--caption {prompt.record['command']}: the sentence has {error.num_tokens} tokens, but the text encoder "
            f"reads {error.limit}: let the command print a shorter one, and give --restart to ask it again"
        ) from None
