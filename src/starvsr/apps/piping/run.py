"""Do a job without files: frames are read, enlarged and written as they come, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starvsr.apps.piping.prepare import PipedJob
from starvsr.engine.growing_plan import group_as_they_come
from starvsr.engine.processor import processor_threads
from starvsr.engine.progress import CancelToken, ProgressCallback, ProgressTracker
from starvsr.engine.stream import READ_AHEAD, upscale_pieces
from starvsr.engine.threads import ReadAhead
from starvsr.jobs.executors import open_executor
from starvsr.jobs.run import memory_errors
from starvsr.jobs.stream_settings import stream_settings
from starvsr.video import SceneDetector
from starvsr.video.pipes.descriptor import DescriptorWriter
from starvsr.video.pipes.formats import NUT
from starvsr.video.pipes.writer import NutWriter, Y4mWriter

if TYPE_CHECKING:
    from starvsr.video import VideoFrame

_MANY = 1 << 30  # segments: how many there will be is not known


@dataclass(frozen=True)
class PipedResult:
    """What was written: frames and seconds, the largest memory in bytes, and notes for the user."""

    num_frames: int
    seconds: float
    peak_memory: int
    notes: tuple[str, ...]


def run_piped(
    piped: PipedJob,
    target: DescriptorWriter,
    *,
    on_progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    note: Callable[[str], None],
) -> PipedResult:
    """Do the job.

    Args:
        piped: The job.
        target: Where frames go.
        on_progress: Called with `Progress`, often.
        cancel: Looked at often.
        note: Called with what the user should know while it runs.

    Raises:
        StarVsrError: What, why and what next; frames that were written are whole.
    """
    job, reader, form = piped.job, piped.reader, piped.form
    cancel = cancel or CancelToken()
    tracker = ProgressTracker(on_progress, job.num_frames)
    told = _Once(note)
    with ExitStack() as stack:
        stack.callback(reader.close)
        if piped.sound is not None:
            stack.callback(piped.sound.close)
        stack.enter_context(processor_threads(job.options.threads))
        stack.enter_context(memory_errors(job))
        writer: Any = (
            NutWriter(form, target, told, piped.sound) if form.container == NUT else Y4mWriter(form, target, told)
        )
        executor = stack.enter_context(open_executor(job, _MANY))
        tracker.worker_memory = lambda: executor.peak_memory
        ahead = stack.enter_context(ReadAhead(reader.read(), READ_AHEAD, cancel))
        stack.callback(piped.stop)
        detector = SceneDetector() if job.options.scene_cuts else None
        num_frames = upscale_pieces(
            group_as_they_come(_with_cuts(ahead, detector), job.plan),
            writer.write,
            executor,
            stream_settings(job, None),
            tracker,
            cancel,
            give_up=target.stop,
        )
        if job.options.on_corrupt == "error":
            reader.check_complete()
        writer.close()
        notes = [*reader.notes, *executor.notes]
    return PipedResult(num_frames, tracker.seconds, tracker.peak_memory, tuple(dict.fromkeys(notes)))


class _Once:
    """Passes on each note once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._told: set[str] = set()

    def __call__(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._note(text)


def _with_cuts(frames: Iterable[VideoFrame], detector: SceneDetector | None) -> Iterator[tuple[VideoFrame, bool]]:
    for frame in frames:
        yield frame, detector is not None and detector.is_cut(frame.pixels)
