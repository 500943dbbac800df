"""causal-sr as an ONNX file: one frame in, one out, and the state of the frames before beside them.

Other programs run the file without PyTorch (ONNX Runtime, OpenVINO, TensorRT). They hand the state from frame to
frame, and say where a scene begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.families.causal_sr.pipeline import chosen_tensors
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.models.causal_sr import UNSHUFFLE, CausalSR, State
from starvsr.models.weights import digest, with_stored_sizes
from starvsr.models.weights.assign import check_fit
from starvsr.video.write.publish import partial_path, publish

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

OPSET = 20
_TRACED_SIDE = 16
"""Input pixels of the frame that the exporter looks at; the file takes others."""
_LONGEST_SIDE = 1 << 15


class OneFrame(CausalSR):
    """The network for one frame at a time, in operations that ONNX has in this form."""

    def forward(self, frame: Tensor, is_first: Tensor, state: State) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Upscale the next frame.

        Args:
            frame: [1, 3, h, w] RGB in [-1, 1], h and w even.
            is_first: bool []; true begins a scene, and the state is not looked at.
            state: what was returned for the frame before, one [1, k, h/2, w/2] for each frame of memory.

        Returns:
            [1, 3, 4h, 4w] RGB, clamped to [-1, 1], and the new state.
        """
        marked = tuple((is_first, before) for before in state)
        hq, new_state = self.step(frame, cast(State, marked))
        return hq.clamp(-1, 1), *new_state

    def _shift(self, x: Tensor, num_clips: int, before: Any) -> tuple[Tensor, Tensor]:
        is_first, earlier = before
        own, rest = x.split([self.config.shifted_channels, x.shape[1] - self.config.shifted_channels], dim=1)
        return torch.cat([torch.where(is_first, own, earlier), rest], dim=1), own


def write_onnx(spec: CausalSRSpec, weights: Path, path: Path, *, detail: float | None = None) -> None:
    """Write weights as an ONNX file with inputs ``frame``, ``is_first``, ``state_0`` ... and outputs alike.

    The sides of frames are free, but even. Metadata of the file name model, digest of the weights, range and memory.

    Args:
        spec: The entry.
        weights: What ``starvsr export`` wrote.
        path: Target; it appears when it is whole.
        detail: As for `starvsr.families.causal_sr.pipeline.load`.

    Raises:
        OptionError: The exporter's packages are missing; a detail for weights with one end.
        WeightsError: The weights are missing, damaged, or of another network.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise OptionError(f"ONNX files need {' and '.join(missing)}: pip install 'starvsr[onnx]'")
    network = OneFrame(with_stored_sizes(spec.network, weights))
    tensors = chosen_tensors(weights, detail, spec.detail)
    check_fit(network.state_dict(), tensors, weights)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    program = _traced(network.eval().requires_grad_(False))
    facts = {
        "model": spec.name,
        "weights_sha256": digest(weights),
        "licence": spec.licence,
        "range": "RGB in [-1, 1]",
        "scale": spec.scale,
        "memory_frames": network.config.memory,
        "detail": detail,
    }
    program.model.metadata_props.update({name: str(value) for name, value in facts.items() if value is not None})
    partial = partial_path(path)
    try:
        program.save(os.fspath(partial))
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _traced(network: OneFrame) -> ONNXProgram:
    config = network.config
    half = _TRACED_SIDE // UNSHUFFLE
    frame = torch.zeros(1, 3, _TRACED_SIDE, _TRACED_SIDE)
    state = tuple(torch.zeros(1, config.shifted_channels, half, half) for _ in range(config.memory))
    rows, columns = (torch.export.Dim(f"half_{side}", min=1, max=_LONGEST_SIDE) for side in ("height", "width"))
    with _quietly():
        program = torch.onnx.export(
            network,
            (frame, torch.tensor(True), state),
            verbose=False,
            opset_version=OPSET,
            dynamic_shapes=({2: UNSHUFFLE * rows, 3: UNSHUFFLE * columns}, {}, ({2: rows, 3: columns},) * len(state)),
            input_names=["frame", "is_first", *(f"state_{index}" for index in range(config.memory))],
            output_names=["hq", *(f"new_state_{index}" for index in range(config.memory))],
        )
    assert program is not None
    return program


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter, which tells of modules that it does not find and does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
