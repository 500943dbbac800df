"""What the training of STAR on CogVideoX begins with: a plain CogVideoX, or a STAR in any of its forms."""

from __future__ import annotations

from pathlib import Path

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.network import Network, read_json, read_network
from starvsr.models.cogvideox.sat import states_file
from starvsr.models.cogvideox.stock import is_stock, stock_config, widened
from starvsr.models.weights import known_digest, read_tensors, tensors_digest


def read_start(path: Path, *, config: TransformerConfig | None = None) -> Network:
    """Read a network; a plain CogVideoX is widened to the channels of the low-quality latents and has no LIEM.

    Args:
        path: A model folder of diffusers, its folder ``transformer``, or what `read_network` takes.
        config: Sizes of a bare file.

    Raises:
        WeightsError: It is missing, damaged or refused, or of another kind.
    """
    path = _transformer_in(path)
    if (path / "config.json").is_file():
        tensors = read_tensors(path)
        if is_stock(tensors):
            sizes = stock_config(read_json(path / "config.json"), path / "config.json")
            return Network(sizes, widened(tensors, sizes, path))
    elif path.is_file() and states_file(path) is None:
        tensors, sizes = read_tensors(path), config or TransformerConfig.published_5b()
        if is_stock(tensors):
            return Network(sizes, widened(tensors, sizes, path))
        return Network(sizes, tensors)
    return read_network(path)


def start_digest(path: Path) -> str:
    """Return the SHA-256 of a start; see `tensors_digest` for folders."""
    path = _transformer_in(path)
    return tensors_digest(states_file(path) or path, known_digest)


def _transformer_in(path: Path) -> Path:
    inner = path / "transformer"
    return inner if (inner / "config.json").is_file() else path
