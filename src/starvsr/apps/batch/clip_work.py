"""One clip at work: fetched, upscaled whole or in shares, measured, delivered and verified."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.apps.batch.clips import Clip
from starvsr.apps.batch.figures import measure_result, reviews
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.records import Record, read_record
from starvsr.apps.batch.scratch import ClipScratch, kind_here, remove_scratch
from starvsr.apps.batch.settings import WorkSettings
from starvsr.engine.progress import CancelToken, Progress
from starvsr.errors import JobError, OptionError, OutputExistsError, StarVsrError, TransferError
from starvsr.families.kept_model import KeptModel
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.lock import await_free

if TYPE_CHECKING:
    from starvsr.api import UpscaleJob

_LOCK_PATIENCE = 30.0  # seconds that the worker of a driver that was killed is given to be gone


@dataclass(frozen=True)
class WorkPlace:
    """What a worker has for the clips that it does.

    Args:
        settings: Of the batch.
        destination: Where results go.
        model: The model that is loaded.
        token: Stops the order at work.
        told: Called with its progress.
    """

    settings: WorkSettings
    destination: Location
    model: KeptModel
    token: CancelToken
    told: Callable[[Progress], None]


def worker_options(settings: WorkSettings, values: dict[str, Any]) -> UpscaleOptions:
    """Return the options of a clip as a worker takes them.

    Args:
        settings: Of the batch, which choose device and threads.
        values: Of the clip, as plain values.
    """
    # the scratch folder is the worker's own: what is under the output's name there may be replaced
    return UpscaleOptions(
        **{
            **values,
            "overwrite": True,
            "device": settings.device,
            **({} if settings.threads is None else {"threads": settings.threads}),
        }
    )


class ClipWork:
    """One clip at work.

    Args:
        place: What the worker has.
        clip: The clip.
        num_tries: How often it was tried before.
    """

    def __init__(self, place: WorkPlace, clip: Clip, num_tries: int = 0) -> None:
        self._place, self._clip, self._num_tries = place, clip, num_tries
        self._options = worker_options(place.settings, clip.options)
        self._target = place.destination.join(clip.output)
        self._seconds: dict[str, float] = {}

    def whole(self, *, may_split: bool) -> dict[str, Any]:
        """Do a clip to its end, or cut it into shares where it is long."""
        upscaler = self._place.model.upscaler_for(self._options)
        scratch = ClipScratch(Path(self._place.settings.scratch), self._clip, kind_here(upscaler.device))
        if (record := self._delivered()) is not None:
            remove_scratch(scratch.root, self._clip)
            return {"kind": "done", "record": record.as_dict(), "was_delivered": True}
        with self._timed("fetch"):
            source = scratch.open(Location(self._clip.input))
        self._await_others(scratch)
        job = self._prepared(source, scratch)
        is_whole = scratch.out.exists() and not job_path(scratch.out).exists()
        if may_split and not is_whole and (shares := self._shares(job)) is not None:
            return {"kind": "split", "num_shares": shares[0], "missing": shares[1]}
        with self._timed("upscale"):
            facts = self._facts_of(scratch.out) if is_whole else self._upscaled(job)
        figures: dict[str, float | None] = {}
        if self._place.settings.metrics:
            with self._timed("measure"):
                figures = measure_result(job, self._place.settings.metrics, job.device)
        record = Record.of(
            self._clip,
            self._place.destination,
            "done",
            self._num_tries + 1,
            num_bytes=scratch.out.stat().st_size,
            width=job.width,
            height=job.height,
            figures={name: value if value is None or abs(value) < 1e300 else None for name, value in figures.items()},
            review=reviews(figures, self._place.settings.bounds),
            device=kind_here(job.device),
            model=f"{job.upscaler.name} {job.traits.digest or ''}".strip(),
            **facts,
        )
        record = self._deliver(scratch, record)
        remove_scratch(scratch.root, self._clip)
        return {"kind": "done", "record": record.as_dict()}

    def share(self, index: int) -> dict[str, Any]:
        """Make one share of a clip that was cut."""
        from starvsr.jobs.shares import make_share

        upscaler = self._place.model.upscaler_for(self._options)
        scratch = ClipScratch(Path(self._place.settings.scratch), self._clip, kind_here(upscaler.device))
        source = scratch.open(Location(self._clip.input))
        await_free(
            JobFolder(job_path(scratch.out)).share(index).with_suffix(".lock"), _LOCK_PATIENCE, self._place.token
        )
        job = self._prepared(source, scratch)
        make_share(job, self._share_frames(job), index, on_progress=self._place.told, cancel=self._place.token)
        return {"kind": "share done"}

    # ---- steps

    def _delivered(self) -> Record | None:
        """Return the record of a clip that was delivered before anybody could hear of it; refuse what is another's."""
        if not self._target.exists():
            return None
        before = read_record(self._clip, self._place.destination)
        if before is not None and before.sha256 is not None and self._target.sha256() == before.sha256:
            record = dataclasses.replace(before, state="done", error=None)
            record.write(self._clip, self._place.destination)
            return record
        if not self._place.settings.overwrite:
            raise OutputExistsError(
                f"{self._target}: already there, and not made by this batch with these options: move it away, give the "
                "clip another output, or --overwrite"
            )
        return None

    def _await_others(self, scratch: ClipScratch) -> None:
        await_free(JobFolder(job_path(scratch.out)).lock, _LOCK_PATIENCE, self._place.token)

    def _prepared(self, source: Path, scratch: ClipScratch) -> UpscaleJob:
        from starvsr.api import prepare

        job = prepare(source, scratch.out, self._options, upscaler=self._place.model.upscaler_for(self._options))
        if job.info.kind == "images" or not isinstance(job.num_frames, (int, type(None))):
            raise OptionError(f"{source}: a batch takes single files: give it to `starvsr upscale`")
        return job

    def _shares(self, job: UpscaleJob) -> tuple[int, list[int]] | None:
        """Plan a long clip; None where it is short enough for one worker."""
        from starvsr.jobs.shares import plan_shares

        if self._place.settings.share_seconds is None or job.num_frames is None:
            return None
        share_frames = self._share_frames(job)
        if job.num_frames < 2 * share_frames:
            return None
        shares = plan_shares(job, share_frames, on_progress=self._place.told, cancel=self._place.token)
        return (shares.num_shares, list(shares.missing)) if shares.num_shares > 1 else None

    def _share_frames(self, job: UpscaleJob) -> int:
        assert self._place.settings.share_seconds is not None
        return max(1, round(self._place.settings.share_seconds * job.info.frame_rate))

    def _upscaled(self, job: UpscaleJob) -> dict[str, Any]:
        try:
            result = job.run(on_progress=self._place.told, cancel=self._place.token)
        except JobError:  # what a try before has left is damaged, or of other weights
            if self._num_tries == 0:
                raise
            job = dataclasses.replace(job, options=dataclasses.replace(job.options, restart=True))
            result = job.run(on_progress=self._place.told, cancel=self._place.token)
        return {"num_frames": result.num_frames, "notes": list(result.notes)}

    def _facts_of(self, out: Path) -> dict[str, Any]:
        """Return what is known of a result whose making was not told."""
        from starvsr.video import probe
        from starvsr.video.untrusted.limits import OWN_FILES

        return {"num_frames": probe(out, limits=OWN_FILES).estimated_frames, "notes": []}

    def _deliver(self, scratch: ClipScratch, record: Record) -> Record:
        """Put the result where it belongs, read it back, and write the record."""
        from starvsr.video.write.publish import file_sha256

        began = time.monotonic()
        self._place.told(Progress("delivering", 0, None, 0.0, 0.0, 0))
        digest = file_sha256(scratch.out)
        # told before: whoever finds the output without a word on its end knows by this that it is the clip's
        dataclasses.replace(record, state="waiting", sha256=digest).write(self._clip, self._place.destination)
        self._target.create(scratch.out, digest, overwrite=self._place.settings.overwrite)
        try:
            found = self._target.sha256()
        except FileNotFoundError:
            found = "nothing"
        if found != digest:
            with contextlib.suppress(StarVsrError, OSError):
                self._target.remove()
            raise TransferError(
                f"{self._target}: what was read back is not what was written (SHA-256 {found[:12]}, expected "
                f"{digest[:12]}): it was removed; check the disk or the store"
            )
        self._seconds["deliver"] = round(time.monotonic() - began, 3)
        record = dataclasses.replace(record, sha256=digest, seconds=self._seconds)
        record.write(self._clip, self._place.destination)
        return record

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        self._place.token.raise_if_cancelled()
        yield
        self._seconds[step] = round(time.monotonic() - began, 3)
