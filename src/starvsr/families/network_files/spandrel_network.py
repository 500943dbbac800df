"""Networks in PyTorch files (.pth, .safetensors) as models, read by spandrel, which knows their architectures.

Needs the extra ``baselines``; spandrel reads weights alone, no code out of pickles.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.errors import MissingWeightsError, OptionError, WeightsError

if TYPE_CHECKING:
    from typing_extensions import Unpack

SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt")


class SpandrelUpscaler(ClipUpscaler):
    """A network that spandrel reads, frame by frame.

    Args:
        name: what tables call it.
        file: the file of its weights.
        device: where it computes.

    Raises:
        OptionError: spandrel is not installed.
        WeightsError: the file is missing, or holds no network that enlarges RGB pictures 1 to 4 times.
    """

    traits = Traits(accepts=frozenset(), overlap=0, tile_overlap=16, fixed_bytes=200 * 2**20, bytes_per_pixel=24_000)

    def __init__(self, name: str, file: Path, device: str = "cpu") -> None:
        self.name, self.device = name, device
        self._network = load_network(file, device)
        self.scale = int(self._network.scale)

    @torch.inference_mode()
    def upscale_clip(self, lq: Tensor, **_: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] to [1, 3, T, scale * H, scale * W]; nothing else changes the result."""
        frames = [self._network((frame[None] + 1) / 2)[0] for frame in lq[0].unbind(1)]
        return (torch.stack(frames, 1)[None] * 2 - 1).clamp_(-1, 1)


def load_network(file: Path, device: str) -> Any:
    """Read a network.

    Raises:
        OptionError: spandrel is not installed.
        WeightsError: the file is missing, or holds no network that enlarges RGB pictures 1 to 4 times.
    """
    spandrel = import_spandrel()
    check_file(file)
    try:
        network = spandrel.ModelLoader(device).load_from_file(str(file))
    except Exception as error:  # of many kinds: unpickling, unknown architecture, damaged file
        text = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{file}: spandrel cannot read it ({text}); give weights of a network that it knows"
        ) from None
    if (network.input_channels, network.output_channels) != (3, 3) or not 1 <= network.scale <= 4:
        raise WeightsError(
            f"{file}: a network from {network.input_channels} to {network.output_channels} channels, "
            f"{network.scale} times larger; give one that enlarges RGB pictures 1 to 4 times"
        )
    return network.eval()


def import_spandrel() -> Any:
    """Import spandrel.

    Raises:
        OptionError: it is not installed, or what it needs does not fit together.
    """
    try:
        import spandrel
    except ImportError:
        raise OptionError("networks in .pth files need spandrel: pip install 'starvsr[baselines]'") from None
    except RuntimeError as error:  # a torchvision of another torch
        text = " ".join(str(error).split())[:120]
        raise OptionError(
            f"spandrel cannot be imported ({text}): install the torchvision that belongs to the installed torch"
        ) from None
    return spandrel


def check_file(file: Path) -> None:
    """Refuse a file that is not there.

    Raises:
        MissingWeightsError: so it is.
    """
    if not file.is_file():
        raise MissingWeightsError(f"{file}: there is no such file; give the weights of a network, NAME.pth")
