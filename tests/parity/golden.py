"""Read golden files, make weights by their rule, and compare.

A golden case is a JSON file and, next to it, a .safetensors or .npz file of the same stem. The JSON names
the configuration, the meaning of the tensors and the tolerances; weights are not stored but follow from their names.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

_README = "README.json"


class CannotCheck(Exception):
    """A golden tensor asks for something that this package or this checker does not have; says why."""


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    case: str
    name: str
    status: Literal["ok", "FAIL", "not checked"]
    error: float | None = None
    tolerance: float | None = None
    note: str = ""

    def __str__(self) -> str:
        numbers = "" if self.error is None else f"error {self.error:.3e}  tolerance {self.tolerance:.3e}  "
        return f"{self.case}/{self.name}  {numbers}{self.status}{': ' + self.note if self.note else ''}"


@dataclass
class Case:
    """One golden case and the rows of its report so far."""

    path: Path
    meta: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    @property
    def stem(self) -> str:
        """Name of the case; a folder that tells what it is in a README.json has the folder's name."""
        return self.path.parent.name if self.path.name == _README else self.path.stem

    @property
    def what(self) -> str:
        return str(self.meta.get("what", ""))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All stored tensors; empty for a case that is plain JSON."""
        named = self.meta.get("file")
        for path in [self.path.with_name(named)] if named else [self.path.with_suffix(".npz")]:
            if path.suffix == ".safetensors":
                return load_file(path)
            if path.suffix == ".npz" and path.exists():
                with np.load(path) as arrays:
                    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        return {}

    def input(self, name: str) -> Tensor:
        """A stored tensor that a check feeds in."""
        if name not in self.tensors:
            raise CannotCheck(f"the file stores no {name}")
        self.touched.add(name)
        return self.tensors[name]

    def inputs(self, *names: str) -> list[Tensor]:
        return [self.input(name) for name in names]

    def names(self, pattern: str) -> list[re.Match[str]]:
        """Stored tensors whose whole name matches."""
        return [match for name in self.tensors if (match := re.fullmatch(pattern, name))]

    def tolerance(self, *keys: str) -> float:
        """The first tolerance that the JSON states under one of these keys."""
        stated = self.meta.get("tolerance")
        for key in keys:
            if isinstance(stated, dict) and isinstance(stated.get(key), int | float):
                return float(stated[key])
        raise CannotCheck(f"the file states no tolerance named {' or '.join(keys)}")

    def compare(
        self, name: str, actual: Tensor, *, absolute: float = 0.0, relative: float = 0.0, to_max: float = 0.0
    ) -> None:
        """Compare with the stored tensor of this name.

        The tolerance is the largest of those given: absolute, relative to each value, relative to the largest
        value.
        """
        self.compare_to(name, actual, self.input(name), absolute=absolute, relative=relative, to_max=to_max)

    def compare_to(
        self,
        name: str,
        actual: Tensor,
        expected: Tensor,
        *,
        absolute: float = 0.0,
        relative: float = 0.0,
        to_max: float = 0.0,
    ) -> None:
        """Compare with any tensor; `relative` reports the relative error."""
        if actual.shape != expected.shape:
            note = f"shape {list(actual.shape)}, expected {list(expected.shape)}"
            self.rows.append(Row(self.stem, name, "FAIL", note=note))
            return
        actual, expected = actual.detach().double(), expected.double()
        difference = (actual - expected).abs()
        difference[actual == expected] = 0  # equal infinities
        if relative:
            difference = difference / expected.abs()
            difference[actual == expected] = 0
        largest = expected[expected.isfinite()].abs().max().item() if expected.numel() else 0.0
        tolerance = max(absolute, relative, to_max * largest)
        error = difference.max().item() if difference.numel() else 0.0
        good = not math.isnan(error) and error <= tolerance
        self.rows.append(Row(self.stem, name, "ok" if good else "FAIL", error, tolerance))

    def exact(self, name: str, actual: Any, expected: Any) -> None:
        """Compare two plain values, such as a table row or a list of names."""
        good = actual == expected
        note = "" if good else f"got {str(actual)[:200]}, expected {str(expected)[:200]}"
        self.rows.append(Row(self.stem, name, "ok" if good else "FAIL", 0.0 if good else math.inf, 0.0, note))

    def not_checked(self, name: str, why: str) -> None:
        self.touched.add(name)
        self.rows.append(Row(self.stem, name, "not checked", note=why))

    def part(self, name: str, check: Callable[[], None]) -> None:
        """Run one part of a check; what it cannot check or breaks on becomes a row of its own."""
        try:
            check()
        except CannotCheck as reason:
            self.not_checked(name, str(reason))
        except Exception as error:
            self.rows.append(Row(self.stem, name, "FAIL", note=f"{type(error).__name__}: {error}"))

    def close_report(self) -> None:
        """Name every stored tensor that nobody has looked at."""
        for name in self.__dict__.get("tensors", {}):  # not read at all: the check has said why
            if name not in self.touched:
                self.not_checked(name, "no rule for this tensor")

    @property
    def salt(self) -> str:
        return str(self.meta.get("salt", ""))

    def prefix(self, case_name: str = "") -> str:
        """Prefix of the state-dict keys, `<case name>` filled in, the example in parentheses dropped."""
        stated = str(self.meta.get("prefix", ""))
        return stated.split(" (")[0].replace("<case name>", case_name)


def read_folder(folder: Path) -> list[Case]:
    """All cases of a folder, in the order of their names; a folder in it with a README.json is one, too."""
    cases = []
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.glob(f"*/{_README}"))]:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(meta, dict):
            cases.append(Case(path, meta))
    return cases


def fill(name: str, shape: tuple[int, ...], salt: str = "") -> Tensor:
    """Make the weight of a state-dict key: the rule that the golden files state.

    Args:
        name: key with its prefix.
        shape: of the weight.
        salt: put in front of the name; other salts make other weights.

    Returns:
        float32.
    """
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32((salt + name).encode("utf-8"))))
    values = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    if len(shape) >= 2:
        return values * float(np.float32(1 / math.sqrt(math.prod(shape[1:]))))
    small = values * float(np.float32(0.1))
    return 1 + small if name.endswith("weight") else small


def filled(build: Callable[[], nn.Module], *, salt: str = "", prefix: str = "") -> nn.Module:
    """Build a network in evaluation mode with every parameter made by `fill`."""
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim:
                parameter.copy_(fill(prefix + name, tuple(parameter.shape), salt))
    return module
