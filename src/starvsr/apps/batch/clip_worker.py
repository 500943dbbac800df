"""What a worker does with an order: fetch, upscale, measure, deliver and verify a clip, or make a share of a long one.

The same object works in a process of this machine and as an actor of Ray. Orders and replies are plain data:

    {"op": "hello"}                                        -> "hello", what is here
    {"op": "clip", "clip": {...}, "tries": 0}              -> "done", or "split" into shares
    {"op": "share", "clip": {...}, "share": 3}             -> "share done"
    {"op": "join", "clip": {...}, "tries": 0}              -> "done"

and each may end in "failed" or "stopped".
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from starvsr.apps.batch.clips import Clip
from starvsr.apps.batch.figures import measure_result, reviews
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.records import Record, read_record
from starvsr.apps.batch.scratch import ClipScratch, kind_here, remove_scratch
from starvsr.apps.batch.settings import WorkSettings
from starvsr.engine.progress import CancelToken, Progress
from starvsr.errors import (
    Cancelled,
    InputError,
    JobError,
    OptionError,
    OutputExistsError,
    OutputNotWritableError,
    StarVsrError,
    TransferError,
)
from starvsr.families.kept_model import KeptModel
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.lock import await_free

if TYPE_CHECKING:
    from starvsr.api import UpscaleJob

_LOCK_PATIENCE = 30.0  # seconds that the worker of a driver that was killed is given to be gone
_FINAL = (OptionError, OutputExistsError)  # trying again changes nothing


_NEEDED = (
    "starvsr.api",
    "starvsr.engine.render",
    "starvsr.families.loading",
    "starvsr.jobs.run",
    "starvsr.jobs.shares",
    "starvsr.video",
)
"""What an order takes seconds to import, imported before the first one comes; the driver does without."""


class ClipWorker:
    """Does orders one after the other; progress and stopping may be asked for from other threads.

    Args:
        settings: Of the batch, as plain values.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = WorkSettings.from_dict(settings)
        self._destination = Location(self._settings.destination)
        self._kept = KeptModel()
        self._token = CancelToken()
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}
        self._is_stopping = False
        for module in _NEEDED:
            importlib.import_module(module)
        Image.init()  # its plugins, which the first look at a file imports

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do an order; every error becomes a reply."""
        with self._lock:
            self._token = CancelToken()
            if self._is_stopping:
                self._token.cancel()
            self._progress = {}
        try:
            self._token.raise_if_cancelled()
            return self._done(order)
        except Cancelled:
            return {"kind": "stopped"}
        except StarVsrError as error:
            if isinstance(error, MemoryError):
                self._kept.drop()
            if isinstance(error, InputError) and "clip" in order:  # what was begun of it is of no use
                remove_scratch(Path(self._settings.scratch), Clip(**order["clip"]))
            return {
                "kind": "failed",
                "message": _line(error),
                "is_final": isinstance(error, _FINAL),
                "is_transfer": isinstance(error, (TransferError, OutputNotWritableError)),
            }
        except Exception as error:
            message = f"unexpected {type(error).__name__}: {_line(error)}; please report it"
            return {"kind": "failed", "message": message, "is_final": False, "is_transfer": False}

    def progress(self) -> dict[str, Any]:
        """Return how far the order is."""
        with self._lock:
            return dict(self._progress)

    def stop(self) -> None:
        """Give up the order, and those that follow; finished parts stay."""
        with self._lock:
            self._is_stopping = True
            self._token.cancel()

    # ---- orders

    def _done(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["op"] == "hello":
            return self._hello()
        work = _ClipWork(self, Clip(**order["clip"]), order)
        if order["op"] == "share":
            return work.share(order["share"])
        return work.whole(may_split=order["op"] == "clip")

    def _hello(self) -> dict[str, Any]:
        options = self.options_of(self._settings.warm_up)
        upscaler = self._kept.upscaler_for(options)
        return {
            "kind": "hello",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": upscaler.device,
            "kind_of_device": kind_here(upscaler.device),
        }

    def options_of(self, values: dict[str, Any]) -> UpscaleOptions:
        """Return the options of a clip on this worker."""
        # the scratch folder is the worker's own: what is under the output's name there may be replaced
        return UpscaleOptions(
            **{
                **values,
                "overwrite": True,
                "device": self._settings.device,
                **({} if self._settings.threads is None else {"threads": self._settings.threads}),
            }
        )

    def told(self, progress: Progress) -> None:
        """Keep a report for whoever asks."""
        with self._lock:
            self._progress = {
                "stage": progress.stage,
                "num_done": progress.num_done - progress.num_kept,
                "num_frames": progress.num_frames,
            }

    @property
    def settings(self) -> WorkSettings:
        """Of the batch."""
        return self._settings

    @property
    def destination(self) -> Location:
        """Where results go."""
        return self._destination

    @property
    def token(self) -> CancelToken:
        """Of the order at work."""
        return self._token

    @property
    def model(self) -> KeptModel:
        """The model that is loaded."""
        return self._kept


class _ClipWork:
    """One clip at work."""

    def __init__(self, worker: ClipWorker, clip: Clip, order: dict[str, Any]) -> None:
        self._worker, self._clip, self._order = worker, clip, order
        self._options = worker.options_of(clip.options)
        self._target = worker.destination.join(clip.output)
        self._seconds: dict[str, float] = {}

    def whole(self, *, may_split: bool) -> dict[str, Any]:
        """Do a clip to its end, or cut it into shares where it is long."""
        upscaler = self._worker.model.upscaler_for(self._options)
        scratch = ClipScratch(Path(self._worker.settings.scratch), self._clip, kind_here(upscaler.device))
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
        if self._worker.settings.metrics:
            with self._timed("measure"):
                figures = measure_result(job, self._worker.settings.metrics, job.device)
        record = Record.of(
            self._clip,
            self._worker.destination,
            "done",
            self._order["tries"] + 1,
            num_bytes=scratch.out.stat().st_size,
            width=job.width,
            height=job.height,
            figures={name: value if value is None or abs(value) < 1e300 else None for name, value in figures.items()},
            review=reviews(figures, self._worker.settings.bounds),
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

        upscaler = self._worker.model.upscaler_for(self._options)
        scratch = ClipScratch(Path(self._worker.settings.scratch), self._clip, kind_here(upscaler.device))
        source = scratch.open(Location(self._clip.input))
        await_free(
            JobFolder(job_path(scratch.out)).share(index).with_suffix(".lock"), _LOCK_PATIENCE, self._worker.token
        )
        job = self._prepared(source, scratch)
        make_share(job, self._share_frames(job), index, on_progress=self._worker.told, cancel=self._worker.token)
        return {"kind": "share done"}

    # ---- steps

    def _delivered(self) -> Record | None:
        """Return the record of a clip that was delivered before anybody could hear of it; refuse what is another's."""
        if not self._target.exists():
            return None
        before = read_record(self._clip, self._worker.destination)
        if before is not None and before.sha256 is not None and self._target.sha256() == before.sha256:
            record = dataclasses.replace(before, state="done", error=None)
            record.write(self._clip, self._worker.destination)
            return record
        if not self._worker.settings.overwrite:
            raise OutputExistsError(
                f"{self._target}: already there, and not made by this batch with these options: move it away, give the "
                "clip another output, or --overwrite"
            )
        return None

    def _await_others(self, scratch: ClipScratch) -> None:
        await_free(JobFolder(job_path(scratch.out)).lock, _LOCK_PATIENCE, self._worker.token)

    def _prepared(self, source: Path, scratch: ClipScratch) -> UpscaleJob:
        from starvsr.api import prepare

        job = prepare(source, scratch.out, self._options, upscaler=self._worker.model.upscaler_for(self._options))
        if job.info.kind == "images" or not isinstance(job.num_frames, (int, type(None))):
            raise OptionError(f"{source}: a batch takes single files: give it to `starvsr upscale`")
        return job

    def _shares(self, job: UpscaleJob) -> tuple[int, list[int]] | None:
        """Plan a long clip; None where it is short enough for one worker."""
        from starvsr.jobs.shares import plan_shares

        if self._worker.settings.share_seconds is None or job.num_frames is None:
            return None
        share_frames = self._share_frames(job)
        if job.num_frames < 2 * share_frames:
            return None
        shares = plan_shares(job, share_frames, on_progress=self._worker.told, cancel=self._worker.token)
        return (shares.num_shares, list(shares.missing)) if shares.num_shares > 1 else None

    def _share_frames(self, job: UpscaleJob) -> int:
        assert self._worker.settings.share_seconds is not None
        return max(1, round(self._worker.settings.share_seconds * job.info.frame_rate))

    def _upscaled(self, job: UpscaleJob) -> dict[str, Any]:
        try:
            result = job.run(on_progress=self._worker.told, cancel=self._worker.token)
        except JobError:  # what a try before has left is damaged, or of other weights
            if self._order["tries"] == 0:
                raise
            job = dataclasses.replace(job, options=dataclasses.replace(job.options, restart=True))
            result = job.run(on_progress=self._worker.told, cancel=self._worker.token)
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
        self._worker.told(Progress("delivering", 0, None, 0.0, 0.0, 0))
        digest = file_sha256(scratch.out)
        # told before: whoever finds the output without a word on its end knows by this that it is the clip's
        dataclasses.replace(record, state="waiting", sha256=digest).write(self._clip, self._worker.destination)
        self._target.create(scratch.out, digest, overwrite=self._worker.settings.overwrite)
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
        record.write(self._clip, self._worker.destination)
        return record

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        self._worker.token.raise_if_cancelled()
        yield
        self._seconds[step] = round(time.monotonic() - began, 3)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
