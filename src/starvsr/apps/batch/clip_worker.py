"""A worker: takes an order, does it to a clip (`clip_work`), and answers whatever happens.

The same object works in a process of this machine and as an actor of Ray. Orders and replies are plain data:

    {"op": "hello"}                                        -> "hello", what is here
    {"op": "clip", "clip": {...}, "tries": 0}              -> "done", or "split" into shares
    {"op": "share", "clip": {...}, "share": 3}             -> "share done"
    {"op": "join", "clip": {...}, "tries": 0}              -> "done"

and each may end in "failed" or "stopped".
"""

from __future__ import annotations

import importlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from starvsr.apps.batch.clip_work import ClipWork, WorkPlace, worker_options
from starvsr.apps.batch.clips import Clip
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.scratch import kind_here, remove_scratch
from starvsr.apps.batch.settings import WorkSettings
from starvsr.engine.progress import CancelToken, Progress
from starvsr.errors import (
    Cancelled,
    InputError,
    OptionError,
    OutputExistsError,
    OutputNotWritableError,
    StarVsrError,
    TransferError,
)
from starvsr.families.kept_model import KeptModel

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
        place = WorkPlace(self._settings, self._destination, self._kept, self._token, self._told)
        work = ClipWork(place, Clip(**order["clip"]), order.get("tries", 0))
        if order["op"] == "share":
            return work.share(order["share"])
        return work.whole(may_split=order["op"] == "clip")

    def _hello(self) -> dict[str, Any]:
        options = worker_options(self._settings, self._settings.warm_up)
        upscaler = self._kept.upscaler_for(options)
        return {
            "kind": "hello",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": upscaler.device,
            "kind_of_device": kind_here(upscaler.device),
        }

    def _told(self, progress: Progress) -> None:
        """Keep a report for whoever asks."""
        with self._lock:
            self._progress = {
                "stage": progress.stage,
                "num_done": progress.num_done - progress.num_kept,
                "num_frames": progress.num_frames,
            }


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
