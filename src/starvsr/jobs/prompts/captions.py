"""Captions that a command gave: kept in the journal of the job, so that a resumed job does not ask again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.errors import JobError, ResourceError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.fingerprint import fingerprint
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.journal import Journal, Record, read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.prompts.captioner import ask_captioner
from starvsr.jobs.prompts.clip_frames import write_frames
from starvsr.jobs.prompts.prompt import CAPTION, STAND_IN, Prompt, given_options
from starvsr.jobs.state import JobState
from starvsr.video.write.publish import as_output_error

if TYPE_CHECKING:
    from starvsr.video import VideoInfo

NUM_FRAMES = 4
TIMEOUT_S = 600


def question_of(input_sha256: str, options: UpscaleOptions) -> dict[str, Any]:
    """Return what an answer depends on: the command, the frames that it is given, the input and the part of it."""
    return {
        "command": options.caption,
        "frames": options.caption_frames or NUM_FRAMES,
        "input": input_sha256,
        "start": None if options.start is None else str(options.start),
        "duration": None if options.duration is None else str(options.duration),
    }


def kept_answer(question: dict[str, Any], records: Iterable[Record]) -> Record | None:
    """Return the record of a question that was answered before."""
    return next((record for record in records if question.items() <= record.items()), None)


def ask(info: VideoInfo, options: UpscaleOptions, question: dict[str, Any]) -> Record:
    """Run the command and return its answer as a record for a journal.

    Raises:
        CaptionError: It gives none.
        InputError: The input cannot be read.
        ResourceError: The frames cannot be written.
    """
    assert options.caption is not None
    try:
        with tempfile.TemporaryDirectory(prefix="starvsr-caption-") as folder:
            frames = write_frames(info, options, question["frames"], Path(folder))
            text = ask_captioner(options.caption, frames, float(options.caption_timeout or TIMEOUT_S))
    except OSError as error:
        raise ResourceError(
            f"the frames for --caption cannot be written to {tempfile.gettempdir()} ({error.strerror}): free some "
            "space there, or set TMPDIR"
        ) from None
    return {"kind": "caption", **question, "text": text}


def prompt_of(record: Record, options: UpscaleOptions) -> Prompt:
    """Return the prompt of a record."""
    return Prompt(record["text"], CAPTION, given_options(options), record)


def stand_in(options: UpscaleOptions) -> Prompt:
    """Return what stands for the answer of a command that is not asked."""
    return Prompt(STAND_IN, CAPTION, given_options(options), is_stand_in=True)


def caption_in_job(
    info: VideoInfo, out: Path, options: UpscaleOptions, *, may_ask: bool, on_ask: Callable[[], None] | None
) -> Prompt:
    """Return the caption of an input: the one that its unfinished job keeps, or a new one, which is kept there.

    Args:
        info: The input.
        out: The output.
        options: Name the command.
        may_ask: Whether the command may be run; where not, something stands for its answer.
        on_ask: Called before it is run.

    Raises:
        CaptionError: The command gives no caption.
        JobError: The unfinished job was begun with another command, or another process works on it.
    """
    folder = JobFolder(job_path(out))
    question = question_of(fingerprint(info)["sha256"], options)
    state = JobState([] if options.restart else read_journal(folder.journal)[0])
    record = kept_answer(question, state.captions)
    if record is None and state.captions and state.parts:
        record = state.captions[-1]  # what has changed besides is found and told when the job is opened
        if record["command"] != options.caption:
            raise JobError(
                f"{folder.path}: an unfinished job of other settings: --caption: {record['command']} before, "
                f"{options.caption} now. Give the settings of before to resume it, or --restart to begin anew"
            )
    if record is None:
        if not may_ask:
            return stand_in(options)
        record = _ask_and_keep(folder, info, out, options, question, on_ask)
    return prompt_of(record, options)


def _ask_and_keep(
    folder: JobFolder,
    info: VideoInfo,
    out: Path,
    options: UpscaleOptions,
    question: dict[str, Any],
    on_ask: Callable[[], None] | None,
) -> Record:
    try:
        folder.create()
        lock = JobLock(folder.lock)
    except OSError as error:
        raise as_output_error(out, error) from None
    try:
        if on_ask is not None:
            on_ask()
        record = ask(info, options, question)
        with Journal(folder.journal) as journal:
            journal.append(record)
        return record
    except BaseException as error:
        if not read_journal(folder.journal)[0]:
            folder.remove(lock)
        if isinstance(error, OSError):
            raise as_output_error(out, error) from None
        raise
    finally:
        lock.release()
