"""Two batches of images beside each other: the input's bicubic enlargement, and the result."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from starvsr.engine.progress import CancelToken
from starvsr.errors import InputError
from starvsr.jobs.comparison import comparison_sheet, half_size, side_by_side

LAYOUTS = ("side by side", "sheet with details")


def compare_images(
    before: Tensor, after: Tensor, labels: tuple[str, str], layout: str, cancel: CancelToken | None = None
) -> Tensor:
    """Lay inputs and results beside each other.

    Args:
        before: [T, h, w, 3 or 4] float, 0 to 1: the inputs.
        after: [T, H, W, 3 or 4] float, 0 to 1: the results.
        labels: What is written on them.
        layout: One of ``LAYOUTS``: halves with a line between, or whole images above their most detailed parts.
        cancel: Looked at for each image.

    Returns:
        float32 [T, height, width, 3], 0 to 1.

    Raises:
        InputError: The batches have different lengths or are no images.
    """
    for images in (before, after):
        if images.ndim != 4 or images.shape[-1] not in (3, 4):
            raise InputError(f"images are {list(images.shape)}: give [frames, height, width, 3 or 4]")
    if len(before) != len(after):
        raise InputError(f"{len(before)} images before and {len(after)} after: compare batches of one length")
    made = []
    for one, other in zip(before, after, strict=True):
        if cancel is not None:
            cancel.raise_if_cancelled()
        pair = _bytes(one), _bytes(other)
        if layout == LAYOUTS[0]:
            drawn = side_by_side(*pair, half_size(pair[1].shape[1], pair[1].shape[0]), labels)
        else:
            drawn = np.asarray(comparison_sheet(*pair, labels))
        made.append(torch.from_numpy(drawn.astype(np.float32) / np.float32(255)))
    if len({picture.shape for picture in made}) > 1:  # sheets of pictures with fewer details are lower
        height = max(picture.shape[0] for picture in made)
        made = [torch.nn.functional.pad(picture, (0, 0, 0, 0, 0, height - len(picture)), value=1.0) for picture in made]
    return torch.stack(made)


def _bytes(image: Tensor) -> np.ndarray:
    codes: np.ndarray = image[..., :3].detach().to("cpu", torch.float32).clamp(0, 1).mul(255).round().numpy()
    return codes.astype(np.uint8)
