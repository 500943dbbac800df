"""A folder of photos: each is enlarged independently, and all appear together, under the names that they have.

Photos may differ in size, depth and transparency.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from starvsr.engine.progress import CancelToken, ProgressCallback, ProgressTracker, UpscaleResult
from starvsr.errors import InputError, OptionError, OutputError, StarVsrError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.job import Job
from starvsr.jobs.journal import Journal, read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.manifest import differences, plan_of, refuse_changes
from starvsr.jobs.manifest_file import read_plan, write_plan
from starvsr.jobs.outputs import check_places, comparison_paths
from starvsr.jobs.photo_prompts import PhotoPrompts
from starvsr.jobs.prompts.find import find_prompts
from starvsr.jobs.prompts.request import Prompts, are_wanted
from starvsr.jobs.provenance import provenance_of_photos
from starvsr.jobs.published import is_published
from starvsr.jobs.run import run_job
from starvsr.jobs.state import JobState
from starvsr.video.content import file_fingerprint
from starvsr.video.read.images import images_in
from starvsr.video.write.file_names import fitting
from starvsr.video.write.image_names import names_like
from starvsr.video.write.publish import discard, file_sha256, output_errors, publish, tree_sha256

if TYPE_CHECKING:
    from starvsr.engine.upscaler import Upscaler


class Prepare(Protocol):
    """Prepares the job of one photo, as `starvsr.prepare` does."""

    def __call__(
        self, path: Path, out: Path, options: UpscaleOptions, *, upscaler: Upscaler | None, prompts: Prompts
    ) -> Job:
        """Prepare the job; writes nothing."""
        ...


@dataclass(frozen=True)
class PhotosJob:
    """A folder of photos that has been looked at; nothing is written yet.

    Args:
        path: The folder.
        files: Its photos, in natural order of their names.
        out: The folder that appears when all are done.
        options: What the user asked for.
        first: The job of the first photo that can be read, as an example of all.
        upscaler: The model.
        prepare: Prepares the job of each photo.
        prompts: The prompts of the photos.
    """

    path: Path
    files: tuple[Path, ...]
    out: Path
    options: UpscaleOptions
    first: Job
    upscaler: Upscaler
    prepare: Prepare
    prompts: Prompts

    @property
    def folder(self) -> JobFolder:
        """Where finished photos are kept until all are done."""
        return JobFolder(job_path(self.out))

    def run(self, *, on_progress: ProgressCallback | None = None, cancel: CancelToken | None = None) -> UpscaleResult:
        """Enlarge the photos, or those that an interrupted run left.

        Raises:
            StarVsrError: what, why and what next; nothing is left under the output's name, what is finished is kept.
        """
        folder = self.folder
        with output_errors(self.out):
            folder.create()
            lock = JobLock(folder.lock)
        try:
            with output_errors(self.out):
                result = _Photos(self, folder).run(on_progress, cancel or CancelToken())
            if not folder.remove(lock):
                told = f"{folder.path} could not be removed, nothing in it is needed: remove it"
                result = replace(result, notes=(*result.notes, told))
            return result
        except BaseException:
            with contextlib.suppress(OSError):
                state = JobState(read_journal(folder.journal)[0])
                if not state.photos and not state.captions:
                    folder.remove(lock)
            raise
        finally:
            lock.release()


def prepare_photos(
    path: Path,
    out: Path,
    options: UpscaleOptions,
    prepare: Prepare,
    upscaler: Upscaler | None = None,
    prompts: Prompts | None = None,
) -> PhotosJob:
    """Look at a folder of photos and check the output. Writes nothing, and runs no command.

    Args:
        path: The folder.
        out: The folder that appears when all are done.
        options: What the user asked for.
        prepare: Prepares the job of each photo.
        upscaler: The model; None loads it.
        prompts: Prompts that were found before; None looks for them.

    Raises:
        StarVsrError: no photo can be read, the output not be written, or an option not be honoured.
    """
    for name in ("processes", "devices"):
        if getattr(options, name) is not None:
            raise OptionError(f"{path}: photos are computed one after the other: leave out --{name}")
    files = tuple(images_in(path))
    check_places(out, (path, *files), replace(options, compare=False))
    prompts = prompts or Prompts()
    if are_wanted(options, upscaler) and not prompts.found:
        prompts = replace(prompts, found=find_prompts(files, options))
    first = _first_job(files, out, options, prepare, upscaler, prompts)
    return PhotosJob(path, files, out, options, first, first.upscaler, prepare, prompts)


def _first_job(
    files: Sequence[Path],
    out: Path,
    options: UpscaleOptions,
    prepare: Prepare,
    upscaler: Upscaler | None,
    prompts: Prompts,
) -> Job:
    problem: StarVsrError | None = None
    for file in files:
        try:
            quiet = replace(prompts, may_ask=False)
            return prepare(file, out.with_name("photo.png"), _each(options), upscaler=upscaler, prompts=quiet)
        except InputError as error:
            if options.on_error == "stop":
                raise
            problem = problem or error
    assert problem is not None
    raise problem


def _each(options: UpscaleOptions) -> UpscaleOptions:
    """Give the options of a single photo."""
    return replace(options, images="auto", on_error="stop", restart=True, overwrite=True)


class _Photos:
    """The photos of a job in hand."""

    def __init__(self, job: PhotosJob, folder: JobFolder) -> None:
        self._job = job
        self._folder = folder
        self._made = folder.photos
        self._notes: list[str] = []
        self._largest = (0, 0)

    def run(self, on_progress: ProgressCallback | None, cancel: CancelToken) -> UpscaleResult:
        """Do what is missing, publish the folder."""
        job, folder = self._job, self._folder
        if job.options.restart:
            folder.clear()
        tracker = ProgressTracker(on_progress, len(job.files))
        if is_published(folder, job.out):
            return self._result(tracker, len(list(job.out.iterdir())))
        self._match()
        names = names_like(job.files, job.out)
        with Journal(folder.journal) as journal:
            state = JobState(journal.records)
            wanted = are_wanted(job.options, job.upscaler)
            prompts = PhotoPrompts(job.prompts, job.options, wanted, state.captions)
            done = self._kept(state.photos, dict(zip(names, job.files, strict=True)), prompts)
            tracker.keep(len(done))
            for file, name in zip(job.files, names, strict=True):
                if name not in done:
                    self._do(file, name, prompts, journal, tracker, cancel)
            if not any(self._made.iterdir()):
                raise OutputError(f"{job.out}: none of the photos could be enlarged; nothing was written")
            journal.append({"kind": "whole", "sha256": tree_sha256(self._made)})
        num_photos = len([name for name in names if (self._made / name).exists()])
        publish(self._made, job.out)
        return self._result(tracker, num_photos)

    def _match(self) -> None:
        """Hold the plan against the one that the job was begun with."""
        job = self._job
        plan = plan_of(job.first)
        plan.pop("prompt", None)  # that of one photo; each photo is kept with its own
        plan |= {
            "output": job.out.name,
            "input": {"path": str(job.path.resolve()), "kind": "photos", "bytes": 0, "files": 0, "sha256": ""},
            "num_frames": len(job.files),
            "size": [],
            "cut": {},
            "part_frames": 1,
            "options": {**plan["options"], **_plain(job.options)},
        }
        before = read_plan(self._folder)
        if before is not None:
            refuse_changes(self._folder, differences(before, plan))
        write_plan(self._folder, plan)

    def _kept(self, records: dict[str, Any], files: dict[str, Path], prompts: PhotoPrompts) -> set[str]:
        """Return the names of photos that are finished, with input and prompt as they were; the rest is removed."""
        self._made.mkdir(exist_ok=True)
        done = set()
        for name, record in records.items():
            made, file = self._made / name, files.get(name)
            is_whole = file is not None and made.is_file() and file_sha256(made) == record["sha256"]
            if file is None or not is_whole or file_fingerprint(file) != record["input"]:
                continue
            if record.get("prompt") == prompts.known_text(file, record["input"]["sha256"]):
                done.add(name)
        beside = {self._comparison(name).name for name in done} if self._job.options.compare else set()
        for entry in self._made.iterdir():
            if entry.name not in done | beside:
                discard(entry)
        return done

    def _do(
        self,
        file: Path,
        name: str,
        prompts: PhotoPrompts,
        journal: Journal,
        tracker: ProgressTracker,
        cancel: CancelToken,
    ) -> None:
        cancel.raise_if_cancelled()
        tracker.report()
        work = self._made / "photo.png"  # whatever the photo is called: its name may look like a pattern
        try:
            mark = file_fingerprint(file)
            prompt = prompts.prompt(file, mark["sha256"], journal, tracker)
            own, each = Prompts({file: prompt}), _each(self._job.options)
            job = self._job.prepare(file, work, each, upscaler=self._job.upscaler, prompts=own)
            result = run_job(job, None, cancel)
        except StarVsrError as error:
            if self._job.options.on_error == "stop" or cancel.is_cancelled:
                raise
            self._notes.append(f"{file.name}: left out: {error}")
            discard(self._made / "photo.png.job")
            return
        told = [note for note in result.notes if prompt is None or note != prompt.note]
        self._notes += [note.replace("photo.png", name) for note in told if note not in self._notes]
        self._largest = max(self._largest, (result.width, result.height))
        if self._job.options.compare:
            comparison_paths(work)[0].replace(self._comparison(name))
        work.replace(self._made / name)
        record = {"kind": "photo", "name": name, "input": mark, "sha256": file_sha256(self._made / name)}
        journal.append(record if prompt is None else {**record, "prompt": prompt.text})
        tracker.num_done += 1

    def _comparison(self, name: str) -> Path:
        return fitting(self._made / name, Path(name).stem, after="_compare.png")

    def _result(self, tracker: ProgressTracker, num_photos: int) -> UpscaleResult:
        tracker.report("done")
        job = self._job
        width, height = self._largest if any(self._largest) else (job.first.width, job.first.height)
        return UpscaleResult(
            output=job.out,
            num_frames=num_photos,
            width=width,
            height=height,
            seconds=tracker.seconds,
            peak_memory=tracker.peak_memory,
            duration=None,
            notes=tuple(self._notes),
            provenance=provenance_of_photos(job.first),
            num_kept=tracker.num_kept,
            kind="photo",
        )


def _plain(options: UpscaleOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("images", "on_error") if name in options.changed()}
