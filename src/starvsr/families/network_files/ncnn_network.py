"""Networks in ncnn's format (NAME.param and NAME.bin) as models, on the processor: those of the Real-ESRGAN family.

Needs the extra ``baselines``. The model files are no part of this project.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.errors import MissingWeightsError, OptionError, StarVsrError, WeightsError

if TYPE_CHECKING:
    from typing_extensions import Unpack

FloatArray = npt.NDArray[np.float32]
_TRIAL_PX = 16


class NcnnNetwork:
    """A network in ncnn's format that makes pictures of pictures.

    Args:
        param: the file NAME.param; NAME.bin lies beside it.
        threads: processor threads; None for all.

    Raises:
        OptionError: ncnn is not installed.
        WeightsError: a file is missing, or not what it should be.
    """

    def __init__(self, param: Path, threads: int | None = None) -> None:
        self._param, self._threads = param, threads
        self._open()

    def __call__(self, planes: FloatArray) -> FloatArray:
        """Return what the network makes of float32 [3, h, w] in 0..1; its values are not cut to that range."""
        with self._net.create_extractor() as extractor:
            extractor.input(self._net.input_names()[0], self._ncnn.Mat(np.ascontiguousarray(planes)).clone())
            status, result = extractor.extract(self._net.output_names()[0])
            if status != 0:
                raise StarVsrError(
                    f"{self._param.stem}: ncnn failed with status {status} on {planes.shape[2]}x{planes.shape[1]}"
                )
            return np.array(result)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the opened network out: it cannot be sent to other processes."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_net", "_ncnn")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the network again."""
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        ncnn = import_ncnn()
        check_ncnn_files(self._param)
        self._ncnn: Any = ncnn
        self._net: Any = ncnn.Net()
        if self._threads is not None:
            self._net.opt.num_threads = self._threads
        self._net.opt.use_vulkan_compute = False
        if self._net.load_param(str(self._param)) != 0 or self._net.load_model(str(_weights_of(self._param))) != 0:
            raise WeightsError(
                f"{self._param}: ncnn cannot read it, or {_weights_of(self._param).name} beside it; get both anew"
            )
        if len(self._net.input_names()) != 1 or len(self._net.output_names()) != 1:
            raise WeightsError(
                f"{self._param}: has more than one input or output; give a network that enlarges pictures"
            )


class NcnnUpscaler(ClipUpscaler):
    """A network in ncnn's format as a model, frame by frame.

    Args:
        name: what tables call it.
        param: the file NAME.param; NAME.bin lies beside it.
        threads: processor threads; None for all.

    Raises:
        OptionError: ncnn is not installed.
        WeightsError: a file is missing, or not what it should be.
    """

    traits = Traits(accepts=frozenset(), overlap=0, tile_overlap=16, fixed_bytes=200 * 2**20, bytes_per_pixel=24_000)

    def __init__(self, name: str, param: Path, threads: int | None = None) -> None:
        self.name, self._network = name, NcnnNetwork(param, threads)
        self.scale = _measured_scale(self._network, param)

    def upscale_clip(self, lq: Tensor, **_: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] to [1, 3, T, scale * H, scale * W]; nothing else changes the result."""
        frames = [self._enlarged(frame) for frame in lq[0].unbind(1)]
        return torch.stack(frames, 1)[None]

    def _enlarged(self, frame: Tensor) -> Tensor:
        made = self._network(((frame.cpu() + 1) / 2).numpy().astype(np.float32, copy=False))
        return torch.from_numpy(made * 2 - 1).clamp_(-1, 1)


def _measured_scale(network: NcnnNetwork, param: Path) -> int:
    made = network(np.zeros((3, _TRIAL_PX, _TRIAL_PX), np.float32))
    scale, rest = divmod(made.shape[-1], _TRIAL_PX)
    if made.ndim != 3 or made.shape != (3, _TRIAL_PX * scale, _TRIAL_PX * scale) or rest or not 1 <= scale <= 4:
        raise WeightsError(f"{param}: makes {tuple(made.shape)} of a picture of 3x16x16; it must enlarge 1 to 4 times")
    return scale


def import_ncnn() -> Any:
    """Import ncnn.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import ncnn
    except ImportError:
        raise OptionError("networks in .param files need ncnn: pip install 'starvsr[baselines]'") from None
    return ncnn


def check_ncnn_files(param: Path) -> None:
    """Refuse a network whose files are not all there.

    Raises:
        MissingWeightsError: so it is.
    """
    for file in (param, _weights_of(param)):
        if not file.is_file():
            raise MissingWeightsError(f"{file}: there is no such file; a network of ncnn is NAME.param and NAME.bin")


def _weights_of(param: Path) -> Path:
    return param.with_suffix(".bin")
