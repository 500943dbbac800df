"""Models that can be sent to other processes, and fail there in every way."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing import parent_process

from torch import Tensor

from starvsr.errors import StarVsrError
from tests.support.doubles import NearestUpscaler


class Untold(Exception):
    """An error that cannot be pickled and unpickled again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@dataclass
class FailingUpscaler(NearestUpscaler):
    """Fails in other processes only, at a frame."""

    how: str = "kill"
    frame: int = 30

    def upscale_clip(self, lq: Tensor, **arguments) -> Tensor:  # type: ignore[override,no-untyped-def]
        if parent_process() is not None and arguments["first_frame"] >= self.frame:
            self.fail()
        return super().upscale_clip(lq, **arguments)

    def fail(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(7)
        if self.how == "memory":
            raise MemoryError
        if self.how == "ours":
            raise StarVsrError("the lamp is broken: change it")
        if self.how == "untold":
            raise Untold("one", "two")
        raise ZeroDivisionError("division by zero")
