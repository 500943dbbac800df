"""Properties that are held against many drawn inputs, few by default and many with ``-m slow``.

A property is written as a test with one drawn argument::

    @holds("frames and times", timed_cases(), few=8, many=150)
    def test_times(case: Case, folder: Path) -> None: ...

The default run always draws the same examples. `benchmarks.reliability.exactness` runs the properties with a number
of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from starvsr.api import upscale
from starvsr.engine.progress import UpscaleResult
from starvsr.families.bicubic import BicubicUpscaler

Check = Callable[[Any, Path], None]
PROPERTIES: dict[str, Property] = {}


@dataclass
class Property:
    """Something that must hold for every input that a strategy draws.

    Attributes:
        title: What holds, in words.
        strategy: Draws the inputs.
        check: Fails where it does not hold.
        few: Examples in the default run.
        many: Examples in the slow run.
    """

    title: str
    strategy: st.SearchStrategy[Any]
    check: Check
    few: int
    many: int

    def run(self, examples: int, *, seed: int | None = None, failures: list[str] | None = None) -> int:
        """Draw examples and check them; without a seed they are the same ones every time.

        Args:
            examples: How many to draw; fewer where there are no more different ones.
            seed: Draws others.
            failures: Takes the examples that do not hold, with what went wrong; None raises at the first.

        Returns:
            The number of examples checked.

        Raises:
            AssertionError: One did not hold; it is made as simple as can be found. Only without ``failures``.
        """
        tried = 0

        def one(case: Any) -> None:
            nonlocal tried
            tried += 1
            with tempfile.TemporaryDirectory(prefix="exact") as folder:
                try:
                    self.check(case, Path(folder))
                except Exception as error:
                    if failures is None:
                        raise
                    failures.append(f"{case!r}: {type(error).__name__}: {error}")

        test = given(case=self.strategy)(one)
        test = settings(
            max_examples=examples,
            derandomize=seed is None,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(test)
        if seed is not None:
            test = seeded(seed)(test)
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            test()
        finally:
            torch.set_num_threads(before)
        return tried


def holds(
    title: str, strategy: st.SearchStrategy[Any], *, few: int, many: int
) -> Callable[[Check], Callable[..., None]]:
    """Make a test of a property, in a short and in a long form."""

    def register(check: Check) -> Callable[..., None]:
        entry = Property(title, strategy, check, few, many)
        PROPERTIES[title] = entry

        @pytest.mark.parametrize(
            "examples", [few, pytest.param(many, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
        )
        def test(examples: int) -> None:
            entry.run(examples)

        test.__name__ = check.__name__
        test.__doc__ = check.__doc__
        return test

    return register


def identity(source: Path, out: Path, **options: Any) -> UpscaleResult:
    """Send a file through everything but a network: bicubic at scale 1 is the identity."""
    return upscale(source, out, upscaler=BicubicUpscaler(1), model="bicubic", scale=1, **options)
