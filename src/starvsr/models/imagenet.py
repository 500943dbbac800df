"""The convolutions of AlexNet and VGG16 as torchvision trains them on ImageNet: trunks of perceptual distances.

Only the trunks, with torchvision's names ("features.0.weight"), so that its files load without it.

Sources: Krizhevsky 2014 (arXiv 1404.5997), Simonyan and Zisserman 2014 (arXiv 1409.1556).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from starvsr.errors import WeightsError

VGG16_LAYOUT = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Trunk(nn.Module):
    """Layers one after another; the outputs of some of them are what pictures are compared by.

    Args:
        layers: convolutions, ReLU and pooling, in torchvision's order.
        taps: indices of the layers whose outputs are returned.
        channels: channels of these.
    """

    def __init__(self, layers: list[nn.Module], taps: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps, self.channels = taps, channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of the taps, of normalised pictures [N, 3, H, W]."""
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found


def alexnet() -> Trunk:
    """Build AlexNet's trunk with fresh weights; taps after its five ReLU."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    ]
    return Trunk(layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256))


def vgg16(pool: Callable[[int], nn.Module] = lambda channels: nn.MaxPool2d(2, 2)) -> Trunk:
    """Build VGG16's trunk with fresh weights; taps after the last ReLU of its five blocks.

    Args:
        pool: makes the layer that halves the sides, of its number of channels.
    """
    layers: list[nn.Module] = []
    taps, channels = [], 3
    for index, block in enumerate(VGG16_LAYOUT):
        if index:
            layers.append(pool(channels))
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        taps.append(len(layers) - 1)
    return Trunk(layers, tuple(taps), tuple(block[-1] for block in VGG16_LAYOUT))


def load_trunk(trunk: Trunk, path: Path) -> Trunk:
    """Fill a trunk from a file of torchvision's whole classifier, and freeze it.

    Raises:
        WeightsError: The file does not hold it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        own = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
        missing, _ = trunk.load_state_dict(own, strict=False)
        if missing_convolutions := [name for name in missing if not name.endswith(".kernel")]:
            raise KeyError(missing_convolutions[0])
    except Exception as error:  # a damaged pickle fails in many ways
        raise WeightsError(f"{path} does not hold a trunk as torchvision names it ({error}): fetch it again") from error
    return trunk.eval().requires_grad_(False)
