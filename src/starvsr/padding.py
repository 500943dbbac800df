"""Index arithmetic of padding: how many pixels to add so that a network's down- and upsampling fit.

Pure integers; `starvsr.imaging.frames` applies the result to pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError


@dataclass(frozen=True)
class Padding:
    """Pixels added on each side."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        """Whether anything is added."""
        return any((self.left, self.right, self.top, self.bottom))

    def scaled(self, factor: int) -> Padding:
        """The same border of a picture enlarged by an integer factor."""
        return Padding(self.left * factor, self.right * factor, self.top * factor, self.bottom * factor)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a padded picture."""
        return height + self.top + self.bottom, width + self.left + self.right


def minimal_padding(height: int, width: int, *, cell_px: int = 8, num_downsamples: int = 3) -> Padding:
    """Least padding, right and below, for the STAR network.

    With `num_downsamples` halvings its latent height must be 2 and its latent width 0 modulo
    2**num_downsamples. Right and below only, so that the picture keeps its place on the codec's grid.

    Args:
        height: pixels.
        width: pixels.
        cell_px: pixels per latent cell and side (8 for the image autoencoders).
        num_downsamples: halvings inside the network.

    Raises:
        OptionError: a size is not positive.
    """
    if min(height, width, cell_px) < 1 or num_downsamples < 0:
        raise OptionError(f"cannot pad {width}x{height} pixels to cells of {cell_px}: sizes must be positive")
    step = 2**num_downsamples
    rows, columns = -(-height // cell_px), -(-width // cell_px)
    rows += (2 - rows) % step
    columns += -columns % step
    return Padding(right=columns * cell_px - width, bottom=rows * cell_px - height)


def released_padding(height: int, width: int, best: tuple[int, int] = (720, 1280)) -> Padding:
    """Padding of the released STAR code, for exact reproduction: small pictures are centred in `best`.

    A larger size grows to the next multiple of 64 (plus 16 for the height); one that fits already grows by 64
    more.

    Args:
        height: pixels.
        width: pixels.
        best: (height, width) that smaller pictures are padded to.
    """
    top, bottom = _released_pair(height, best[0], extra=16)
    left, right = _released_pair(width, best[1], extra=0)
    return Padding(left, right, top, bottom)


def _released_pair(size: int, best: int, extra: int) -> tuple[int, int]:
    if size < best:
        before = (best - size) // 2
        return before, best - size - before
    if size == best:
        return 0, 0
    return 0, (size - extra + 64) // 64 * 64 + extra - size
