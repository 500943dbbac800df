"""The prompt of each photo of a folder: written beside it, or the answer of a command, asked once and kept."""

from __future__ import annotations

from pathlib import Path

from starvsr.engine.progress import ProgressTracker
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.inputs import probe_input
from starvsr.jobs.journal import Journal, Record
from starvsr.jobs.prompts.captions import ask, kept_answer, prompt_of, question_of
from starvsr.jobs.prompts.prompt import Prompt
from starvsr.jobs.prompts.request import Prompts


class PhotoPrompts:
    """Finds the prompt of a photo.

    Args:
        prompts: Prompts that were found beside the photos.
        options: What the user asked for.
        are_wanted: Whether the model takes prompts.
        captions: Answers that earlier runs kept.
    """

    def __init__(self, prompts: Prompts, options: UpscaleOptions, are_wanted: bool, captions: list[Record]) -> None:
        self._prompts, self._options, self._are_wanted, self._captions = prompts, options, are_wanted, captions

    def prompt(self, file: Path, sha256: str, journal: Journal, tracker: ProgressTracker) -> Prompt | None:
        """Return the prompt of a photo; the command of ``--caption`` is asked once and its answer kept.

        Args:
            file: The photo.
            sha256: Its digest.
            journal: Takes the answer.
            tracker: Reports that it is asked.
        """
        options = self._options
        written = self._prompts.written(file, options) if self._are_wanted else None
        if written is not None or options.caption is None:
            return written
        question = question_of(sha256, options)
        record = kept_answer(question, self._captions)
        if record is None:
            tracker.report("captioning")
            record = ask(probe_input(file, options), options, question)
            journal.append(record)
            self._captions.append(record)
        return prompt_of(record, options)

    def known_text(self, file: Path, sha256: str) -> str | None:
        """Return the text of the prompt that a photo has now, as far as it is known without asking."""
        options = self._options
        if not self._are_wanted:
            return None
        found = self._prompts.found.get(file)
        if isinstance(found, Prompt):
            return found.text
        record = kept_answer(question_of(sha256, options), self._captions) if options.caption is not None else None
        return None if record is None else str(record["text"])
