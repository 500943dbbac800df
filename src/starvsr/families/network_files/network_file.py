"""A file of a network: which kind it is of, whether it can be opened, and what it opens to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starvsr.engine.clip_upscaler import ClipUpscaler
from starvsr.families.network_files.ncnn_network import NcnnUpscaler, check_ncnn_files, import_ncnn
from starvsr.families.network_files.spandrel_network import SUFFIXES, SpandrelUpscaler, check_file, import_spandrel

NCNN_SUFFIXES = (".param", ".bin")
SUFFIX_KINDS = {".param": "ncnn", **dict.fromkeys(SUFFIXES, "spandrel")}
"""What a network's file ends in, and what reads it."""


@dataclass(frozen=True)
class NetworkFile:
    """A file of a network.

    Attributes:
        path: NAME.param for ncnn.
        kind: What reads it.
    """

    path: Path
    kind: Literal["ncnn", "spandrel"]

    @classmethod
    def of(cls, path: Path) -> NetworkFile | None:
        """Tell by its name what a file is; None if it is no network."""
        if path.suffix in NCNN_SUFFIXES:
            return cls(path.with_suffix(".param"), "ncnn")
        return cls(path, "spandrel") if path.suffix in SUFFIXES else None

    @property
    def files(self) -> list[Path]:
        """All files that it consists of."""
        return [self.path, *([self.path.with_suffix(".bin")] if self.kind == "ncnn" else [])]

    def check(self) -> None:
        """Refuse what cannot be opened.

        Raises:
            MissingWeightsError: a file is missing.
            OptionError: the package that reads it is.
        """
        if self.kind == "ncnn":
            check_ncnn_files(self.path)
            import_ncnn()
        else:
            check_file(self.path)
            import_spandrel()

    def open(self, name: str, *, threads: int | None = None, device: str = "cpu") -> ClipUpscaler:
        """Open it as a model.

        Args:
            name: what tables call it.
            threads: of the processor; None for all. Those of spandrel compute with torch's.
            device: where it computes; ncnn always on the processor.

        Raises:
            StarVsrError: it cannot be opened.
        """
        if self.kind == "ncnn":
            return NcnnUpscaler(name, self.path, threads)
        return SpandrelUpscaler(name, self.path, device)
