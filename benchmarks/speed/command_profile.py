"""Tell what the processor time of a whole `starvsr upscale` is spent on.

    python -m benchmarks.speed.command_profile CLIP -o OUT --model causal-sr --weights FILE

Arguments are those of `starvsr upscale`. Times are of the thread that does the work, with one network thread, so they
hold on a busy machine as well; "other threads" is above all the encoder. A part that calls another is told without it.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

PARTS = (
    ("reading", "starvsr.video.read.reader", "VideoReader.read"),
    ("finding scene cuts", "starvsr.video.scenes", "SceneDetector.is_cut"),
    ("frames to tensors", "starvsr.engine.render", "_clip_of"),
    ("trunk of causal-sr", "starvsr.models.causal_sr", "CausalSR._features"),
    ("head of causal-sr", "starvsr.models.causal_sr", "CausalSR._head"),
    ("picture of causal-sr", "starvsr.models.causal_sr", "composed"),
    ("states recognised", "starvsr.families.causal_sr.carried", "_digest"),
    ("results to integers", "starvsr.engine.render", "to_codes"),
    ("network, as far as not told", "starvsr.engine.render", "_checked"),
    ("tiles joined", "starvsr.engine.render", "_add_frame"),
    ("finishing", "starvsr.engine.render", "Finish.__call__"),
    ("colour for the encoder", "starvsr.video.parts.part_writer", "EncoderFeed.picture"),
    ("encoder, its caller", "starvsr.video.parts.part_writer", "PictureEncoder.encode"),
    ("parts closed", "starvsr.video.parts.part_writer", "PartWriter.close"),
    ("parts verified and joined", "starvsr.jobs.joiner", "Join.run"),
)


class Profile:
    """Adds up processor time by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = threading.local()

    def watch(self, label: str, module: str, path: str) -> None:
        """Replace a function or method by one that is timed."""
        owner: Any = import_module(module)
        *outer, name = path.split(".")
        for each in outer:
            owner = getattr(owner, each)
        function = inspect.getattr_static(owner, name)
        timed = self._steps if inspect.isgeneratorfunction(function) else self._call
        setattr(owner, name, timed(label, function))

    def _timed(self, label: str, work: Callable[[], Any]) -> Any:
        begin, before = time.thread_time(), getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        try:
            return work()
        finally:
            spent = time.thread_time() - begin
            self.seconds[label] += spent - self._inner.seconds
            self._inner.seconds = before + spent

    def _call(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            return self._timed(label, lambda: function(*arguments, **options))

        return timed

    def _steps(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
            steps, end = function(*arguments, **options), object()
            while (step := self._timed(label, lambda: next(steps, end))) is not end:
                yield step

        return timed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and print the table."""
    import torch

    from starvsr.apps.cli import main as command

    words = list(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(1)
    profile = Profile()
    for part in PARTS:
        profile.watch(*part)
    begin = time.process_time()
    try:
        command(["upscale", *words, "--threads", "1"])
    except SystemExit as end:
        if end.code:
            raise
    whole = time.process_time() - begin
    print("| | processor time, s | share |\n| --- | --- | --- |")
    rest = whole - sum(profile.seconds.values())
    for label, seconds in [
        *sorted(profile.seconds.items(), key=lambda one: -one[1]),
        ("other threads, the rest", rest),
    ]:
        print(f"| {label} | {seconds:.2f} | {100 * seconds / whole:.1f} % |")
    print(f"| together | {whole:.2f} | 100 % |")


if __name__ == "__main__":
    main()
