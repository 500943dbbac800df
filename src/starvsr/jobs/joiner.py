"""From finished parts to the output, giving up each part as soon as the joined file holds it.

So a job never takes much more disk than its output. A kill at any moment leaves every part in a file of its own or, by
a line in the journal, in the joined file; the join then begins anew over what is there. When a part is found damaged,
all that lie in the joined file are first put back into files of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from starvsr.jobs.folder import JobFolder
from starvsr.jobs.job import Job
from starvsr.jobs.journal import Journal
from starvsr.jobs.output_spec import output_format
from starvsr.jobs.provenance import provenance_text
from starvsr.jobs.published import is_half_published
from starvsr.jobs.state import JobState, PartRecord
from starvsr.video import VideoReader, VideoWriter
from starvsr.video.parts.faststart import measure_moov
from starvsr.video.parts.join_file import MovedPart, Where
from starvsr.video.parts.part_file import DamagedPartError, Part, StoredPart, copy_part
from starvsr.video.patterns import is_pattern
from starvsr.video.write.image_names import ImageNames
from starvsr.video.write.publish import as_output_error, file_sha256, tree_sha256
from starvsr.video.write.trial import try_output


class Join:
    """The joining of a job's parts.

    Args:
        job: The job.
        folder: Its files.
        journal: Where each step is written down before it is relied on.
        state: What is finished.
    """

    def __init__(self, job: Job, folder: JobFolder, journal: Journal, state: JobState) -> None:
        self._job = job
        self._folder = folder
        self._journal = journal
        self._state = state
        self._refused: Mapping[int, str] = {}

    def try_output(self, reader: VideoReader, tick: Callable[[], None]) -> list[str]:
        """Let the writer refuse what it would refuse at the end; gives its notes. A stream may be left out for it.

        Args:
            reader: The input.
            tick: Called once in a while; may raise to give up.

        Raises:
            OptionError: The options do not fit the output, or a stream that they want does not.
            OutputError: The output cannot be written.
        """
        writer = self.writer(reader, self._folder.trial)
        writer.abort()
        if writer.form.holds_stills:
            return writer.notes
        comment = provenance_text(self._job)
        trial = try_output(writer.form, time_range=reader.time_range, comment=comment, tick=tick)
        self._refused = trial.refused
        return list(trial.notes)

    def run(self, reader: VideoReader) -> list[str]:
        """Join the parts and publish the output; gives the notes of the writer.

        Raises:
            DamagedPartError: A part is not as it was written.
            OutputError: The output cannot be written.
        """
        if self._state.moov_bytes is not None and self._state.comment != self._comment:
            self.take_apart()  # the text lies before the packets, which would all come to lie elsewhere
        records = self._state.in_order
        opened = [partial(self._open, record.index) for record in records]
        delay = max(record.facts.delay for record in records)
        if self._state.moov_bytes is None:
            self._begin(reader, opened, delay)
        with self.writer(reader, self._folder.joined, moov_bytes=self._state.moov_bytes) as writer:
            writer.append_parts(opened, delay, self._state.num_frames, partial(self._give_up, records))
        return writer.notes

    def writer(self, reader: VideoReader, partial: Path, moov_bytes: int | None = None) -> VideoWriter:
        """Make the output's writer; it refuses what it cannot write."""
        job = self._job
        form = output_format(job)
        return VideoWriter(
            job.out,
            source=job.info,
            width=form.width,
            height=form.height,
            options=form.options,
            time_range=reader.time_range,
            overwrite=job.options.overwrite or (is_pattern(job.out) and is_half_published(self._folder, job.out)),
            comment=provenance_text(job),
            partial=partial,
            moov_bytes=moov_bytes,
            refused=self._refused,
            on_whole=lambda path: self._journal.append({"kind": "whole", "sha256": tree_sha256(path)}),
        )

    def damaged_parts(self) -> list[int]:
        """Return the numbers of the parts that are not as they were written."""
        return [record.index for record in self._state.in_order if not self._is_whole(record)]

    def take_apart(self) -> None:
        """Put the parts that lie in the joined file back into files of their own.

        Raises:
            DamagedPartError: A part is not as it was written.
            OSError: The disk is full or gone.
        """
        if self._state.moov_bytes is None and not self._state.moved:
            return
        for index in sorted(self._state.moved):
            before = self._state.parts[index]
            facts = copy_part(self._open(index), self._folder.part(index))
            record = dataclasses.replace(before, facts=facts)
            self._journal.append(record.as_record())
            self._state.add(record)
        self._journal.append({"kind": "apart"})
        self._state.moov_bytes = None
        self._folder.sweep()

    def _begin(self, reader: VideoReader, opened: Sequence[Callable[[], StoredPart]], delay: int) -> None:
        form = output_format(self._job)
        moov_bytes = 0
        try:
            if not form.holds_stills:
                moov_bytes = measure_moov(
                    form,
                    opened,
                    delay,
                    time_range=reader.time_range,
                    comment=provenance_text(self._job),
                    refused=self._refused,
                )
            self._journal.append({"kind": "join", "moov_bytes": moov_bytes, "comment": self._comment})
        except OSError as error:
            raise as_output_error(self._job.out, error) from None
        self._state.moov_bytes, self._state.comment = moov_bytes, self._comment

    @property
    def _comment(self) -> str:
        return hashlib.sha256(provenance_text(self._job).encode()).hexdigest()[:16]

    def _give_up(self, records: list[PartRecord], number: int, where: Where) -> None:
        """Remove a part that the joined file holds on the disk."""
        index = records[number].index
        self._journal.append({"kind": "moved", "index": index, "where": where})
        self._state.moved[index] = where
        self._folder.part(index).unlink(missing_ok=True)

    def _open(self, index: int) -> StoredPart:
        path = self._folder.part(index)
        where = self._state.moved.get(index)
        if where is None:
            return Part(path)
        names = ImageNames(self._job.out, self._job.info) if output_format(self._job).is_images else None
        return MovedPart(path, where, self._folder.joined, names)

    def _is_whole(self, record: PartRecord) -> bool:
        file = self._folder.part(record.index)
        try:
            if record.index in self._state.moved:
                return sum(1 for _ in self._open(record.index).packets()) == record.facts.num_frames
            return file.stat().st_size == record.facts.size and file_sha256(file) == record.facts.sha256
        except (OSError, DamagedPartError):
            return False
