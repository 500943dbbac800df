"""A clip on disk as an iterable of frames: decoded anew each time it is asked for, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from starvsr.data.synthetic import iter_images
from starvsr.video.codec_pass import iter_clip


@dataclass(frozen=True)
class ClipFile:
    """The frames of a video, or of a folder of images, uint8 [H, W, 3] RGB in presentation order.

    Args:
        path: The file or folder.
        num_frames: How many frames at most; None for all.
    """

    path: Path
    num_frames: int | None = None

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Decode from the beginning.

        Raises:
            InputNotFoundError: there is no such file.
            UnreadableInputError: it is no video, or has no frame.
            DataError: the folder holds no images, or images of several sizes.
        """
        if self.path.is_dir():
            yield from iter_images(self.path, self.num_frames)
        else:
            yield from iter_clip(self.path, num_frames=self.num_frames)
