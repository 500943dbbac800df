"""Do a job: make the parts that are missing, join them, leave nothing but the output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.errors import InputError, JobError
from starvsr.pipelines.base import CancelToken, traits_of
from starvsr.pipelines.finish import Finish
from starvsr.pipelines.jobs.disk import check_disk, output_bytes
from starvsr.pipelines.jobs.fingerprint import fingerprint, marks
from starvsr.pipelines.jobs.folder import JobFolder
from starvsr.pipelines.jobs.journal import Journal, read_journal
from starvsr.pipelines.jobs.lock import JobLock
from starvsr.pipelines.jobs.plan import differences, digest_of, plan_of, refuse_changes
from starvsr.pipelines.jobs.plan_file import Plan, read_plan, write_plan
from starvsr.pipelines.jobs.state import Gap, JobState, PartRecord, end_record
from starvsr.pipelines.render import Pixels
from starvsr.pipelines.segments import Segment
from starvsr.pipelines.stream import Frame, Meter, StreamSettings, upscale_stream
from starvsr.video import SceneDetector, VideoReader, VideoWriter
from starvsr.video.output_files import as_output_error, tree_sha256
from starvsr.video.parts import DamagedPartError, PartWriter

if TYPE_CHECKING:
    from starvsr.pipelines.api import UpscaleJob

_MOST_JOINS = 3  # a disk that spoils what was checked a moment ago is given up


@contextlib.contextmanager
def open_work(job: UpscaleJob) -> Iterator[JobWork]:
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
        folder.remove()
    except BaseException as error:
        if work is not None:
            work.close()
        if _has_nothing(folder) and not isinstance(error, JobError):
            folder.remove()
        else:
            folder.sweep()
        raise
    finally:
        lock.release()


def is_published(job_folder: JobFolder, target: Path) -> bool:
    """Whether the output of a job is there already and only the tidying up was cut short."""
    state = JobState(read_journal(job_folder.journal)[0])
    return state.published is not None and target.exists() and tree_sha256(target) == state.published


@contextlib.contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_output_error(out, error) from None


def _has_nothing(folder: JobFolder) -> bool:
    with contextlib.suppress(OSError):
        return not JobState(read_journal(folder.journal)[0]).parts
    return True


def _open(job: UpscaleJob, folder: JobFolder) -> JobWork:
    with _output_errors(job.out):
        if job.options.restart:
            folder.clear()
        folder.sweep()
        before = marks(job.info)
        plan = plan_of(job)
        journal = Journal(folder.journal)
    try:
        state = JobState(journal.records)
        with _output_errors(job.out):
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

    def __init__(
        self, job: UpscaleJob, folder: JobFolder, journal: Journal, state: JobState, plan: Plan, before: Any
    ) -> None:
        self._job = job
        self._folder = folder
        self._journal = journal
        self._state = state
        self._plan = plan
        self._marks = before
        self._notes: list[str] = []
        self.num_kept = 0

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
        target = self._job.target
        if self._state.published and is_published(self._folder, target):
            assert self._state.end is not None
            return int(self._state.end["num_frames"]), list(self._state.end["notes"])
        with contextlib.closing(self._job.open_reader()) as reader:
            self._try_output(reader)
            self._look_over()
            meter.keep(self.num_kept)
            for attempt in range(_MOST_JOINS):
                self._make_parts(reader, meter, cancel)
                self._check_input(thoroughly=True)
                meter.tell("joining")
                try:
                    return self._join(reader)
                except DamagedPartError as error:
                    if attempt + 1 == _MOST_JOINS:
                        raise
                    self._lose(error.path)
        raise AssertionError("not reached")

    # ---- before

    def _try_output(self, reader: VideoReader) -> None:
        """Let the writer refuse before any work is done what it would refuse at the end."""
        writer = self._writer(reader, self._folder.trial)
        writer.abort()
        self._notes += writer.notes

    def _look_over(self) -> None:
        """Check what an earlier run left."""
        for index in self._state.damaged_parts(self._folder):
            self._lose(self._folder.part(index))
        self.num_kept = self._state.num_frames
        with _output_errors(self._job.out):
            self._journal.append({"kind": "run", "kept": len(self._state.parts), "frames": self.num_kept})
        job = self._job
        if job.num_frames is not None:
            codec = job.encoding.split(",")[0]
            expected = output_bytes(codec, job.width, job.height, job.num_frames)
            check_disk(job.out, expected, self._state.num_bytes)

    def _lose(self, path: Path) -> None:
        """Take a part for unfinished."""
        index = next(i for i in self._state.parts if self._folder.part(i) == path)
        del self._state.parts[index]
        with _output_errors(self._job.out):
            self._journal.append({"kind": "lost", "index": index})
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

    def _make_parts(self, reader: VideoReader, meter: Meter, cancel: CancelToken) -> None:
        while (gap := self._state.first_gap()) is not None:
            sink = _PartSink(self, gap)
            try:
                self._stream(reader, gap, sink, meter, cancel)
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

    def _stream(self, reader: VideoReader, gap: Gap, sink: _PartSink, meter: Meter, cancel: CancelToken) -> None:
        job = self._job
        detector = SceneDetector() if job.options.scene_cuts else None
        upscale_stream(
            frames_from(reader, gap.begin.first_needed(job.cut.overlap), detector, self._state.cuts),
            sink.write,
            job.upscaler,
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
        return PartWriter(self._folder.part(index), self._job.output_format)

    @property
    def part_frames(self) -> int:
        """Frames from which on a part is closed."""
        return int(self._plan["part_frames"])

    # ---- the output

    def _join(self, reader: VideoReader) -> tuple[int, list[str]]:
        parts = self._state.in_order
        assert self._state.end is not None
        with self._writer(reader, self._folder.joined) as writer:
            writer.append_parts(
                [self._folder.part(part.index) for part in parts],
                max(part.facts.delay for part in parts),
                self._state.num_frames,
            )
        notes = [*self._state.end["notes"], *self._notes, *writer.notes]
        return self._state.num_frames, list(dict.fromkeys(notes))

    def _writer(self, reader: VideoReader, partial: Path) -> VideoWriter:
        job = self._job
        form = job.output_format
        return VideoWriter(
            job.out,
            source=job.info,
            width=form.width,
            height=form.height,
            options=form.options,
            time_range=reader.time_range,
            overwrite=job.options.overwrite,
            comment=job.provenance_text,
            partial=partial,
            on_whole=self._write_down_whole,
        )

    def _write_down_whole(self, partial: Path) -> None:
        self._journal.append({"kind": "whole", "sha256": tree_sha256(partial)})


class _PartSink:
    """Takes finished frames and cuts them into parts, at borders of segments only."""

    def __init__(self, work: JobWork, gap: Gap) -> None:
        self._work = work
        self._index = gap.index
        self._start = self._stop = gap.begin.frame
        self._next = gap.begin
        self._cuts: list[int] = []
        self._writer: PartWriter | None = None

    @property
    def reached(self) -> tuple[int, int]:
        """The first frame and the number of the part that would come next."""
        return self._start, self._index

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        """Take the next frame."""
        if self._writer is None:
            self._writer = self._work.part_writer(self._index)
        self._writer.write(pixels, pts, duration)
        self._stop += 1

    def border(self, segment: Segment) -> None:
        """Take note that a segment ends here; close the part when it is long enough.

        At the end of a shot half the length is enough: the keyframe that begins the next part is needed there anyway.
        """
        self._next = segment.next
        if segment.keep_start == segment.shot_start > 0:
            self._cuts.append(segment.shot_start)
        enough = self._work.part_frames // (2 if segment.ends_shot else 1)
        if self._stop - self._start >= enough:
            self.finish()

    def finish(self) -> None:
        """Close the part that is open, if any."""
        if self._writer is None:
            return
        facts = self._writer.close()
        self._writer = None
        record = PartRecord(self._index, self._start, self._stop, self._next, tuple(self._cuts), facts)
        self._work.part_done(record)
        self._index += 1
        self._start = self._stop
        self._cuts = []

    def abort(self) -> None:
        """Throw the open part away."""
        if self._writer is not None:
            self._writer.abort()


def frames_from(
    reader: VideoReader, first: int, detector: SceneDetector | None, cuts: frozenset[int]
) -> Iterator[Frame]:
    """Read from a frame on, with a detector that answers as if it had seen all frames before.

    Args:
        reader: The input.
        first: Index of the first frame wanted.
        detector: A fresh detector.
        cuts: The cuts before ``first``.
    """
    skip = max(0, first - detector.warm_up) if detector is not None else first
    for frame in reader.read(skip=skip):
        if frame.index >= first:
            yield frame
        elif detector is not None:
            detector.replay(frame.pixels, frame.index in cuts)


def settings_of(job: UpscaleJob) -> StreamSettings:
    """Return what the stream does with the frames of a job."""
    color = job.options.color or traits_of(job.upscaler).color
    return StreamSettings(
        cut=job.cut,
        finish=Finish(job.width, job.height, color, keep_alpha=job.info.has_alpha),
        seed=job.options.seed or 0,
        num_steps=job.num_steps,
        device=job.device,
    )


__all__ = ["JobWork", "is_published", "open_work"]
