"""Upscale with an ONNX file, without PyTorch: ``python examples/upscale_with_onnx.py weights.onnx in.mp4 out.mp4``.

The file is what ``starvsr export RUN --format onnx`` writes. Needs ``pip install onnxruntime av``; sound is left out.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime


class Upscaler:
    """The network and its memory of the frames before."""

    def __init__(self, path: str) -> None:
        """Open the file on the CPU."""
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.state: dict[str, Any] = {}

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Enlarge the next frame, uint8 [h, w, 3] to uint8 [4h, 4w, 3]; h and w even."""
        height, width = rgb.shape[:2]
        is_first = not self.state
        if is_first:  # at a scene cut, empty the state again
            inputs = self.session.get_inputs()[2:]
            self.state = {one.name: np.zeros((1, one.shape[1], height // 2, width // 2), np.float32) for one in inputs}
        frame = rgb.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        hq, *state = self.session.run(None, {"frame": frame, "is_first": np.array(is_first), **self.state})
        self.state = dict(zip(self.state, state, strict=True))
        return ((hq[0].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)


def main(weights: str, source: str, target: str) -> None:
    """Write the enlarged video."""
    for path in (weights, source):
        if not Path(path).is_file():
            sys.exit(f"error: {path}: there is no such file")
    upscaler = Upscaler(weights)
    with av.open(source) as given, av.open(target, "w") as made:
        video = given.streams.video[0]
        width, height = video.width // 2 * 2, video.height // 2 * 2
        stream = made.add_stream("libx264", rate=Fraction(video.average_rate or 25))
        stream.width, stream.height, stream.pix_fmt = 4 * width, 4 * height, "yuv420p"
        for frame in given.decode(video):
            hq = upscaler(frame.to_ndarray(format="rgb24")[:height, :width])
            made.mux(stream.encode(av.VideoFrame.from_ndarray(hq, format="rgb24")))
        made.mux(stream.encode(None))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
