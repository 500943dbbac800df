"""Do a job that is open: plan its parts, make those that are missing, join them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from starvsr.engine.chunk_plan import ModelPlan
from starvsr.engine.executor import Executor
from starvsr.engine.progress import CancelToken, ProgressTracker
from starvsr.engine.stream import upscale_stream
from starvsr.errors import JobError
from starvsr.jobs.disk import check_disk, output_bytes
from starvsr.jobs.executors import open_executor
from starvsr.jobs.fingerprint import InputWatch
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.jobs.joiner import Join
from starvsr.jobs.journal import Journal
from starvsr.jobs.manifest_file import Plan, write_plan
from starvsr.jobs.output_spec import output_format
from starvsr.jobs.part_plan import PartPlan
from starvsr.jobs.part_plan_file import read_part_plan, write_part_plan
from starvsr.jobs.planning import plan_job_parts
from starvsr.jobs.published import is_published
from starvsr.jobs.state import JobState, PartRecord, end_record
from starvsr.jobs.stream_settings import stream_settings
from starvsr.video import VideoReader
from starvsr.video.parts.part_file import DamagedPartError, PartFacts
from starvsr.video.parts.part_writer import PartSequence, PartWriter
from starvsr.video.write.publish import output_errors

_SILENT = 2  # seconds that checking the output may take without a report
_MOST_JOINS = 3  # a disk that spoils what was checked a moment ago is given up


class JobWork:
    """An open job. Made by `starvsr.jobs.opening`, also for a share of one (`starvsr.jobs.shares`)."""

    def __init__(self, job: Job, folder: JobFolder, journal: Journal, state: JobState, plan: Plan, before: Any) -> None:
        self._job = job
        self._folder = folder
        self._journal = journal
        self._state = state
        self._plan = plan
        self._input = InputWatch(job.info, plan["input"], before)
        self._join = Join(job, folder, journal, state)
        self._notes: list[str] = []
        self.num_kept = 0
        self.late_notes: list[str] = []  # on what came after the output
        self.model_notes: list[str] = []

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def run(
        self, tracker: ProgressTracker, cancel: CancelToken, executor: Executor | None = None
    ) -> tuple[int, list[str]]:
        """Do what is missing and publish the output.

        Args:
            tracker: Counts frames and reports progress.
            cancel: Looked at often.
            executor: Renders the segments; None opens what the options name.

        Returns:
            The number of frames, and notes for the user.

        Raises:
            StarVsrError: what, why and what next; finished parts are kept.
        """
        if self._state.published and is_published(self._folder, self._job.out):
            assert self._state.end is not None
            return int(self._state.end["num_frames"]), list(self._state.end["notes"])
        with contextlib.closing(open_reader(self._job.info, self._job.options)) as reader:
            self._try_output(reader, tracker, cancel)
            self._verify_parts()
            for attempt in range(_MOST_JOINS):
                if not self._state.is_complete:
                    self._make_parts(self.planned(reader, tracker, cancel), reader, tracker, cancel, executor)
                self._input.check(thoroughly=True)
                tracker.report("joining")
                try:
                    notes = self._join.run(reader)
                except DamagedPartError as error:
                    if attempt + 1 == _MOST_JOINS:
                        raise
                    self._lose([index for index in self._state.parts if self._folder.part(index) == error.path])
                else:
                    assert self._state.end is not None
                    told = [*self._state.end["notes"], *self._notes, *notes]
                    return self._state.num_frames, list(dict.fromkeys(told))
        raise AssertionError("not reached")

    # ---- before

    def _try_output(self, reader: VideoReader, tracker: ProgressTracker, cancel: CancelToken) -> None:
        """Let the writer refuse before any work is done what it would refuse at the end."""

        def tick() -> None:
            cancel.raise_if_cancelled()
            if tracker.seconds > _SILENT:
                tracker.report("checking")

        self._notes += self._join.try_output(reader, tick)

    def _verify_parts(self) -> None:
        """Check what an earlier run left."""
        self._lose(self._join.damaged_parts())
        if not self._state.is_complete:  # a part that was lost may come out otherwise (hardware encoders)
            with output_errors(self._job.out):
                self._join.take_apart()
        self.num_kept = self._state.num_frames
        with output_errors(self._job.out):
            self._journal.append({"kind": "run", "kept": len(self._state.parts), "frames": self.num_kept})
        job = self._job
        if job.num_frames is not None:
            codec = job.encoding.split(",")[0]
            expected = output_bytes(codec, job.width, job.height, job.num_frames)
            check_disk(job.out, expected, expected * self._part_frames / job.num_frames, self._folder.num_bytes)

    def _lose(self, indices: list[int]) -> None:
        """Record that parts are not finished, and put those that are joined already into files of their own."""
        if not indices:
            return
        with output_errors(self._job.out):
            for index in indices:
                self._state.lose(index)
                self._journal.append({"kind": "lost", "index": index})
            self._join.take_apart()
        note = f"{self._folder.path.name}: a finished part was damaged and is made again"
        if note not in self._notes:
            self._notes.append(note)

    # ---- the plan of segments and parts

    def planned(self, reader: VideoReader, tracker: ProgressTracker, cancel: CancelToken) -> PartPlan:
        """Return the plan: that of the earlier run, or one that is written before any work on it begins."""
        plan = read_part_plan(self._folder, self._job.plan, self._part_frames)
        if plan is None:
            plan = plan_job_parts(self._job, reader, self._part_frames, tracker, cancel)
            self._input.check()
            self._refuse_other_parts(plan)
            with output_errors(self._job.out):
                write_part_plan(self._folder, plan)
        self._refuse_other_parts(plan)
        if self._state.part_plan_digest != plan.digest:
            with output_errors(self._job.out):
                self._journal.append({"kind": "part plan", "digest": plan.digest})
            self._state.part_plan_digest = plan.digest
        tracker.num_frames = plan.num_frames
        tracker.keep(self._state.num_frames)
        return plan

    def _refuse_other_parts(self, plan: PartPlan) -> None:
        """Refuse parts that were made by another plan."""
        same = all(
            part.index < len(plan.parts)
            and (part.start, part.stop) == (plan.parts[part.index].start, plan.parts[part.index].stop)
            for part in self._state.parts.values()
        )
        if self._state.parts and (not same or self._state.part_plan_digest not in (None, plan.digest)):
            raise JobError(
                f"{self._folder.path}: its finished parts were made by another plan of segments and parts: give "
                "--restart to begin anew"
            )

    # ---- parts

    def _make_parts(
        self,
        plan: PartPlan,
        reader: VideoReader,
        tracker: ProgressTracker,
        cancel: CancelToken,
        executor: Executor | None,
    ) -> None:
        """Make the parts that are missing."""
        self._make_gaps(plan, self._state.gaps(len(plan.parts)), reader, executor, tracker, cancel)
        if self._state.end is None:
            record = end_record(len(plan.parts), plan.num_frames, list(dict.fromkeys([*plan.notes, *reader.notes])))
            with output_errors(self._job.out):
                self._journal.append(record)
            self._state.end = record

    def make_share(self, plan: PartPlan, parts: range, tracker: ProgressTracker, cancel: CancelToken) -> None:
        """Make those parts of a range that are missing, and join nothing; the journal is that of the share."""
        for index in self._join.damaged_parts():
            self._state.lose(index)
            self._journal.append({"kind": "lost", "index": index})
        self.num_kept = self._state.num_frames
        tracker.num_frames = plan.parts[parts.stop - 1].stop - plan.parts[parts.start].start
        tracker.keep(self.num_kept)
        runs = self._state.gaps(parts.stop)
        gaps = [range(max(run.start, parts.start), run.stop) for run in runs if run.stop > parts.start]
        with contextlib.closing(open_reader(self._job.info, self._job.options)) as reader:
            self._make_gaps(plan, gaps, reader, None, tracker, cancel, keeps_plan=False)
        self._input.check(thoroughly=True)

    def _make_gaps(
        self,
        plan: PartPlan,
        gaps: list[range],
        reader: VideoReader,
        executor: Executor | None,
        tracker: ProgressTracker,
        cancel: CancelToken,
        *,
        keeps_plan: bool = True,
    ) -> None:
        """Make runs of parts, where the options say or by an executor that is open."""
        num_segments = sum(len(plan.stretch(gap.start, gap.stop)) for gap in gaps)
        opened = open_executor(self._job, num_segments) if executor is None else contextlib.nullcontext(executor)
        with opened as chosen:
            chosen.on_replan = self._replanned if keeps_plan else None
            tracker.worker_memory = lambda: chosen.peak_memory
            for gap in gaps:
                self._make_gap(plan, gap, reader, chosen, tracker, cancel)
            self.model_notes = list(chosen.notes)
            chosen.on_replan = None

    def _make_gap(
        self,
        plan: PartPlan,
        gap: range,
        reader: VideoReader,
        executor: Executor,
        tracker: ProgressTracker,
        cancel: CancelToken,
    ) -> None:
        """Make neighbouring parts."""
        parts = plan.parts[gap.start : gap.stop]
        segments = plan.stretch(gap.start, gap.stop)
        sink = PartSequence(
            ((part.index, part.num_frames) for part in parts), self._part_writer, partial(self._part_done, plan)
        )
        try:
            upscale_stream(
                reader.read(skip=segments[0].start),
                segments,
                sink.write,
                executor,
                stream_settings(self._job, self._plan["input"]["sha256"]),
                first=parts[0].start,
                tracker=tracker,
                cancel=cancel,
            )
        except BaseException:
            sink.abort()
            raise
        assert sink.is_complete

    def _part_writer(self, index: int) -> PartWriter:
        """Begin a part."""
        return PartWriter(self._folder.part(index), output_format(self._job))

    def _part_done(self, plan: PartPlan, index: int, facts: PartFacts) -> None:
        """Record that a part is finished; called by the thread that writes."""
        part = plan.parts[index]
        record = PartRecord(index, part.start, part.stop, facts)
        self._input.check()
        with output_errors(self._job.out):
            self._journal.append(record.as_record())
        self._state.add(record)

    def _replanned(self, plan: ModelPlan) -> None:
        """Write down which memory plan is followed now: a resumed job begins with the last one."""
        self._plan = {**self._plan, "cut": {**self._plan["cut"], "memory_plan": plan.as_dict()}}
        with output_errors(self._job.out):
            write_plan(self._folder, self._plan)

    @property
    def _part_frames(self) -> int:
        """Frames from which on a part is closed."""
        return int(self._plan["part_frames"])
