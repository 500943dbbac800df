"""Weights on disk: find, fetch, check, read, convert, and fit them into networks.

Files are safetensors, or `.pt` files that hold tensors and nothing that could run. Modules, from the disk up:
``pickles`` and ``tensors`` read, ``save`` writes, ``compact`` stores in 8 bits, ``digests`` checks, ``components``
lists what is published, ``releases`` tells which component a file is, ``cache`` finds files, ``hub`` downloads one
(``hub_errors`` says why it could not), ``download`` gets and verifies the files of a component, ``assign`` fills
networks, ``sizes`` knows how large they are, ``star`` knows STAR's checkpoints, ``locate`` puts a model's files
together, ``model_folder`` writes model folders.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import nn

from starvsr.errors import WeightsError
from starvsr.models.weight_ends import one_end
from starvsr.models.weights.assign import build_empty, check_fit, fit
from starvsr.models.weights.compact import compact
from starvsr.models.weights.digests import check_digest, digest, known_digest, tensors_digest
from starvsr.models.weights.locate import ModelFiles, find_model
from starvsr.models.weights.save import save_weights
from starvsr.models.weights.sizes import with_stored_sizes
from starvsr.models.weights.star import liem_names, load_star_unet, load_training_start
from starvsr.models.weights.tensors import read_metadata, read_tensors

__all__ = [
    "ModelFiles",
    "build_empty",
    "check_digest",
    "check_fit",
    "compact",
    "digest",
    "find_model",
    "fit",
    "known_digest",
    "liem_names",
    "load_star_unet",
    "load_training_start",
    "load_weights",
    "read_metadata",
    "read_tensors",
    "save_weights",
    "tensors_digest",
    "with_stored_sizes",
]


def load_weights(module: nn.Module, path: Path, *, may_lack: Collection[str] = ()) -> None:
    """Copy the tensors of a file into ``module`` as float32; every key must be there and none may be left over.

    Of a file with two ends (:mod:`starvsr.models.weight_ends`) it is the vivid one.

    Args:
        module: The network.
        path: The file.
        may_lack: Names that the file need not have; the module keeps its own values for those.

    Raises:
        WeightsError: the file is missing, damaged, or of another model (the keys are named).
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors file, or reinstall starvsr")
    tensors = one_end(read_tensors(path))
    own = module.state_dict()
    check_fit(own, tensors, path, new=[name for name in may_lack if name in own and name not in tensors])
    module.load_state_dict({**own, **{key: tensor.float() for key, tensor in tensors.items()}})
