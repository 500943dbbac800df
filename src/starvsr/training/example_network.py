"""A network of another project whose results are imitated: read from its file, frozen."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from starvsr.errors import OptionError, WeightsError
from starvsr.families.network_files.network_file import SUFFIX_KINDS, NetworkFile


class ExampleNetwork(nn.Module):
    """What a file's network makes of a clip, frame by frame.

    Args:
        file: of the network.
        scale: how many times it must enlarge.
        device: where results are wanted; networks of spandrel compute there, those of ncnn on the processor.

    Raises:
        OptionError: there is no file, it is no network, or the package that reads it is missing.
        WeightsError: the file is missing or damaged, or enlarges by another factor.
    """

    def __init__(self, file: str, scale: int, device: torch.device | str = "cpu") -> None:
        super().__init__()
        network = check_example(file)
        self._upscaler = network.open(network.path.stem, threads=torch.get_num_threads(), device=str(device))
        if self._upscaler.scale != scale:
            found = self._upscaler.scale
            raise WeightsError(f"{file}: enlarges {found} times; an example here must do so {scale} times")

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge [B, 3, T, h, w] in [-1, 1] to [B, 3, T, scale * h, scale * w], without gradient."""
        return torch.cat([self._upscaler.upscale_clip(clip[None]).to(lq.device) for clip in lq])


def check_example(file: str) -> NetworkFile:
    """Return what a recipe names as example, once it is known that it can be opened.

    Raises:
        OptionError: there is no file, it is no network, or the package that reads it is missing.
        WeightsError: the file is missing.
    """
    if not file:
        raise OptionError("losses.imitation needs regression.example: the file of the network to imitate")
    network = NetworkFile.of(Path(file))
    if network is None:
        raise OptionError(f"regression.example {file}: no network by its name; known are {', '.join(SUFFIX_KINDS)}")
    network.check()
    return network
