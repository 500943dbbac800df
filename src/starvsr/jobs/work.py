"""Do a job: make the parts that are missing, join them, leave nothing but the output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starvsr.engine.chunk_plan import ModelPlan
from starvsr.engine.progress import CancelToken, Meter
from starvsr.engine.stream import upscale_stream
from starvsr.engine.upscaler import Session
from starvsr.errors import InputError, JobError
from starvsr.jobs.disk import check_disk, output_bytes
from starvsr.jobs.feeding import frames_from, settings_of
from starvsr.jobs.fingerprint import fingerprint, marks
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.jobs.joiner import Join
from starvsr.jobs.journal import Journal, read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.manifest import differences, digest_of, plan_of, refuse_changes
from starvsr.jobs.manifest_file import Plan, read_plan, write_plan
from starvsr.jobs.output_spec import output_format
from starvsr.jobs.part_writer import PartSink
from starvsr.jobs.published import is_published
from starvsr.jobs.state import Gap, JobState, PartRecord, end_record
from starvsr.video import SceneDetector, VideoReader
from starvsr.video.parts.part_file import DamagedPartError
from starvsr.video.parts.part_writer import PartWriter
from starvsr.video.write.publish import as_output_error

_SILENT = 2  # seconds that looking through the input may take without a word
_MOST_JOINS = 3  # a disk that spoils what was checked a moment ago is given up


@contextlib.contextmanager
def open_work(job: Job) -> Iterator[JobWork]:
    """Take a job in hand, or take it up where an interrupted process left it.

    When the block ends with an error, the finished parts stay; a job without any goes without a trace.

    Raises:
        JobError: The job is of other settings, or another process works on it.
        OutputError: The folder cannot be written.
        ResourceError: The disk is too small.
    """
    folder = job.folder
    with _output_errors(job.out):
        folder.create()
        lock = JobLock(folder.lock)
    work: JobWork | None = None
    try:
        work = _open(job, folder)
        yield work
        work.close()
        if not folder.remove(lock):
            work.told.append(f"{folder.path} could not be removed, nothing in it is needed: remove it")
    except BaseException as error:
        if work is not None:
            work.close()
        _tidy(folder, lock, isinstance(error, JobError))
        raise
    finally:
        lock.release()


@contextlib.contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_output_error(out, error) from None


def _tidy(folder: JobFolder, lock: JobLock, is_anothers: bool) -> None:
    """After an error: leave what is finished, remove the rest; touch nothing when the journal cannot be read."""
    with contextlib.suppress(OSError):
        state = JobState(read_journal(folder.journal)[0])
        if state.parts or is_anothers:
            folder.sweep(state.moved)
        else:
            folder.remove(lock)


def _open(job: Job, folder: JobFolder) -> JobWork:
    with _output_errors(job.out):
        if job.options.restart:
            folder.clear()
        before = marks(job.info)
        plan = plan_of(job)
        journal = Journal(folder.journal)
    try:
        state = JobState(journal.records)
        with _output_errors(job.out):
            folder.sweep(state.moved)
            _match(folder, journal, state, plan)
        return JobWork(job, folder, journal, state, plan, before)
    except BaseException:
        journal.close()
        raise


def _match(folder: JobFolder, journal: Journal, state: JobState, plan: Plan) -> None:
    """Hold the plan against the one that the job was begun with."""
    before = read_plan(folder)
    if before is not None:
        refuse_changes(folder, differences(before, plan))
    elif state.parts and state.plan_digest != digest_of(plan):
        raise JobError(
            f"{folder.path}: the plan of this unfinished job is damaged, and it was another job than this one: give "
            "--restart to begin anew"
        )
    if before != plan:
        write_plan(folder, plan)
    if state.plan_digest != digest_of(plan):
        journal.append({"kind": "plan", "digest": digest_of(plan)})


class JobWork:
    """A job in hand. Made by `open_work`."""

    def __init__(self, job: Job, folder: JobFolder, journal: Journal, state: JobState, plan: Plan, before: Any) -> None:
        self._job = job
        self._folder = folder
        self._journal = journal
        self._state = state
        self._plan = plan
        self._marks = before
        self._join = Join(job, folder, journal, state)
        self._notes: list[str] = []
        self.num_kept = 0
        self.told: list[str] = []  # notes on what came after the output
        self.model_notes: list[str] = []

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def run(self, meter: Meter, cancel: CancelToken) -> tuple[int, list[str]]:
        """Do what is missing and publish the output.

        Returns:
            The number of frames, and notes for the user.

        Raises:
            StarVsrError: what, why and what next; finished parts are kept.
        """
        if self._state.published and is_published(self._folder, self._job.out):
            assert self._state.end is not None
            return int(self._state.end["num_frames"]), list(self._state.end["notes"])
        job = self._job
        with (
            job.upscaler.open(job.settings, job.plan) as session,
            contextlib.closing(open_reader(job.info, job.options)) as reader,
        ):
            session.on_replan = self._replanned
            self._try_output(reader, meter, cancel)
            self._look_over()
            meter.keep(self.num_kept)
            for attempt in range(_MOST_JOINS):
                self._make_parts(reader, session, meter, cancel)
                self._check_input(thoroughly=True)
                meter.tell("joining")
                try:
                    notes = self._join.run(reader)
                except DamagedPartError as error:
                    if attempt + 1 == _MOST_JOINS:
                        raise
                    self._lose([index for index in self._state.parts if self._folder.part(index) == error.path])
                else:
                    assert self._state.end is not None
                    told = [*self._state.end["notes"], *self._notes, *notes]
                    self.model_notes = list(session.notes)
                    return self._state.num_frames, list(dict.fromkeys(told))
        raise AssertionError("not reached")

    # ---- before

    def _replanned(self, plan: ModelPlan) -> None:
        """Write down which memory plan is followed now: a resumed job begins with the last one."""
        self._plan = {**self._plan, "cut": {**self._plan["cut"], "room": plan.as_dict()}}
        with _output_errors(self._job.out):
            write_plan(self._folder, self._plan)

    def _try_output(self, reader: VideoReader, meter: Meter, cancel: CancelToken) -> None:
        """Let the writer refuse before any work is done what it would refuse at the end."""

        def tick() -> None:
            cancel.raise_if_cancelled()
            if meter.seconds > _SILENT:
                meter.tell("checking")

        self._notes += self._join.try_output(reader, tick)

    def _look_over(self) -> None:
        """Check what an earlier run left."""
        self._lose(self._join.damaged_parts())
        if self._state.first_gap() is not None:  # a part that was lost may come out otherwise (hardware encoders)
            with _output_errors(self._job.out):
                self._join.take_apart()
        self.num_kept = self._state.num_frames
        with _output_errors(self._job.out):
            self._journal.append({"kind": "run", "kept": len(self._state.parts), "frames": self.num_kept})
        job = self._job
        if job.num_frames is not None:
            codec = job.encoding.split(",")[0]
            expected = output_bytes(codec, job.width, job.height, job.num_frames)
            check_disk(job.out, expected, expected * self.part_frames / job.num_frames, self._folder.num_bytes)

    def _lose(self, indices: list[int]) -> None:
        """Take parts for unfinished, and those that are joined already apart again."""
        if not indices:
            return
        with _output_errors(self._job.out):
            for index in indices:
                self._state.lose(index)
                self._journal.append({"kind": "lost", "index": index})
            self._join.take_apart()
        note = f"{self._folder.path.name}: a finished part was damaged and is made again"
        if note not in self._notes:
            self._notes.append(note)

    def _check_input(self, *, thoroughly: bool = False) -> None:
        """Refuse an input that is written to while it is read."""
        try:
            now = marks(self._job.info)
            if now == self._marks and not thoroughly:
                return
            same = {**self._plan["input"], **fingerprint(self._job.info)} == self._plan["input"]
        except OSError as error:
            raise InputError(f"{self._job.info.path}: gone while it was read ({error.strerror}); put it back") from None
        if not same:
            raise InputError(
                f"{self._job.info.path}: changed while it was read; wait until it is whole, then begin with --restart"
            )
        self._marks = now

    # ---- parts

    def _make_parts(self, reader: VideoReader, session: Session, meter: Meter, cancel: CancelToken) -> None:
        while (gap := self._state.first_gap()) is not None:
            sink = PartSink(self, gap)
            try:
                self._stream(reader, session, gap, sink, meter, cancel)
                sink.finish()
            except BaseException:
                sink.abort()
                raise
            if gap.stop is None:
                if self._job.options.on_corrupt == "error":
                    reader.check_complete()
                self._finish_reading(reader)
            elif sink.reached != (gap.stop, gap.stop_index):
                raise JobError(f"{self._folder.path}: its parts do not fit each other: give --restart to begin anew")

    def _finish_reading(self, reader: VideoReader) -> None:
        state = self._state
        record = end_record(len(state.parts), state.num_frames, list(reader.notes))
        with _output_errors(self._job.out):
            self._journal.append(record)
        state.end = record

    def _stream(
        self, reader: VideoReader, session: Session, gap: Gap, sink: PartSink, meter: Meter, cancel: CancelToken
    ) -> None:
        job = self._job
        detector = SceneDetector() if job.options.scene_cuts else None
        upscale_stream(
            frames_from(reader, gap.begin.first_needed(job.plan.overlap), detector, self._state.cuts),
            sink.write,
            session,
            settings_of(job),
            detector=detector,
            meter=meter,
            cancel=cancel,
            begin=gap.begin,
            stop=gap.stop,
            on_border=sink.border,
        )

    def part_done(self, record: PartRecord) -> None:
        """Write down that a part is finished; called by the thread that writes."""
        self._check_input()
        with _output_errors(self._job.out):
            self._journal.append(record.as_record())
        self._state.add(record)

    def part_writer(self, index: int) -> PartWriter:
        """Begin a part."""
        return PartWriter(self._folder.part(index), output_format(self._job))

    @property
    def part_frames(self) -> int:
        """Frames from which on a part is closed."""
        return int(self._plan["part_frames"])


__all__ = ["JobWork", "open_work"]
