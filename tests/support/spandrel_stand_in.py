"""Stands for the package spandrel."""

from __future__ import annotations

from pathlib import Path

import torch


class Network(torch.nn.Module):
    input_channels = output_channels = 3

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.min() >= 0 and x.max() <= 1
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


class Spandrel:
    """Stands for the package spandrel: one network of nearest neighbours, and files that are none."""

    class ModelLoader:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def load_from_file(self, path: str):
            if Path(path).read_bytes() == b"bad":
                raise RuntimeError("unknown architecture")
            return Network(int(Path(path).read_text()))
