"""Every exception starvsr raises on purpose.

A message says what went wrong, why, and what to do next, in one line::

    StarVsrError                 catch this one to catch all
    ├── InputError               the input cannot be used
    │   ├── InputNotFoundError   there is no such file or folder
    │   ├── LimitError           larger than what is accepted without a flag
    │   ├── UnreadableInputError not a video, empty, truncated, or its codec is unknown
    │   ├── CorruptFrameError    damaged in the middle
    │   └── PromptError          the text of a clip is missing, empty or cannot be read
    │       └── CaptionError     the command of --caption gave none
    ├── OutputError              the output cannot be written
    │   ├── OutputExistsError    refused without overwrite
    │   └── OutputNotWritableError  folder missing, no permission, disk full
    ├── OptionError              an option has a wrong value, or two contradict each other
    │   └── PromptTooLongError   a prompt has more tokens than the text encoder reads
    ├── WeightsError             weights missing, damaged, or not of this model
    │   └── MissingWeightsError  not on this machine; the message says how to get them
    ├── ResourceError            not enough memory or disk for the plan
    ├── WorkerError              a process that computed for the job ended
    ├── TransferError            a store (s3://, gs://, ...) cannot be reached
    ├── JobError                 an unfinished job cannot be resumed
    ├── DataError                a dataset or training recipe cannot be used
    └── Cancelled                the user stopped the job
"""

from __future__ import annotations


class StarVsrError(Exception):
    """Base of all errors that starvsr raises on purpose."""


class InputError(StarVsrError):
    """The input cannot be used."""


class InputNotFoundError(InputError):
    """There is no such file or folder."""


class UnreadableInputError(InputError):
    """The input is not a video, is empty or truncated, or its codec is unknown."""


class LimitError(InputError):
    """The input asks for more than a limit allows; the message names the flag that raises it."""


class CorruptFrameError(InputError):
    """The input is damaged in the middle."""


class PromptError(InputError):
    """The text of a clip is missing, empty, given twice, or cannot be read."""


class CaptionError(PromptError):
    """The command of ``--caption`` failed, took too long, or printed no sentence."""


class OutputError(StarVsrError):
    """The output cannot be written."""


class OutputExistsError(OutputError):
    """The output is already there and overwriting was not asked for."""


class OutputNotWritableError(OutputError):
    """The output folder is missing or not writable, or the disk is full."""


class OptionError(StarVsrError, ValueError):
    """An option has a wrong value, or two options contradict each other."""


class PromptTooLongError(OptionError):
    """A prompt has more tokens than the text encoder reads: it is refused rather than cut.

    Args:
        text: The prompt.
        num_tokens: Tokens of it.
        limit: Tokens that the text encoder reads.
        name: What the message calls it.
    """

    def __init__(self, text: str, num_tokens: int, limit: int, name: str = "the prompt") -> None:
        super().__init__(f"{name} has {num_tokens} tokens, but the text encoder reads {limit}: shorten it")
        self.text, self.num_tokens, self.limit, self.name = text, num_tokens, limit, name

    def __reduce__(self) -> tuple[type[PromptTooLongError], tuple[str, int, int, str]]:
        """Travel to other processes by what it was made of."""
        return type(self), (self.text, self.num_tokens, self.limit, self.name)


class WeightsError(StarVsrError):
    """Weights are missing, damaged, or belong to another model."""


class MissingWeightsError(WeightsError):
    """Weights that a metric needs are not on this machine; the message holds the command that gets them."""


class ResourceError(StarVsrError):
    """There is not enough memory or disk for the plan."""


class WorkerError(StarVsrError):
    """A process that computed for the job ended, or met an error that cannot be told otherwise."""


class TransferError(StarVsrError):
    """A store cannot be reached, or breaks off, after several tries."""


class JobError(StarVsrError):
    """An unfinished job is of another input or other options, damaged, or in use by another process."""


class DataError(StarVsrError):
    """A dataset or a training recipe cannot be used."""


class Cancelled(StarVsrError):
    """The user stopped the job."""
