"""The parts of STAR on CogVideoX for training: where the network starts from, and what stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import DataError, WeightsError
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.models.cogvideox.adapter import is_adapter, read_adapted
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.folder import load_vae
from starvsr.models.cogvideox.liem import SpatialGate, TokenGate
from starvsr.models.cogvideox.lora import fresh_lora
from starvsr.models.cogvideox.network import Network
from starvsr.models.cogvideox.sat_vae import SCALING_2B, SCALING_5B
from starvsr.models.cogvideox.start import read_start, start_digest
from starvsr.models.cogvideox.stock import check_same_sizes, gate_names, is_stock
from starvsr.models.weights import ModelFiles, build_empty, known_digest
from starvsr.models.weights.assign import check_fit
from starvsr.models.weights.cache import Places
from starvsr.models.weights.components import PartName
from starvsr.models.weights.locate import find_start
from starvsr.training.config import TrainConfig
from starvsr.training.model import Start
from starvsr.training.recipe import with_changes
from starvsr.training.star_cogvideox import PREFIX, TrainedCogVideoX, TrainedSizes

GATE_PARTS = ("spa_local.conv1.weight", "temp_local.conv1.weight")


def sizes_of(spec: StarCogVideoXSpec, config: TrainConfig) -> TrainedSizes:
    """Return the sizes of network and LoRA that a recipe asks for.

    Raises:
        DataError: There are no such sizes.
    """
    sizes = with_changes(TrainedSizes.of(spec.network), config.network)
    try:
        TransformerConfig.from_json(sizes.transformer.to_json(), "recipe section network")
    except WeightsError as error:
        raise DataError(str(error)) from error
    if sizes.use_rotary_positional_embeddings and sizes.attention_head_dim % 16:
        raise DataError(
            f"recipe key network.attention_head_dim must be a multiple of 16 with rotary positions, not "
            f"{sizes.attention_head_dim}"
        )
    if sizes.lora_rank < 0 or sizes.lora_alpha <= 0:
        raise DataError(
            "recipe keys network.lora_rank and network.lora_alpha must be at least 0 and above 0, not "
            f"{sizes.lora_rank} and {sizes.lora_alpha}: a rank of 0 trains without LoRA"
        )
    return sizes


@dataclass(frozen=True)
class FoundParts:
    """Where everything lies.

    Attributes:
        files: VAE, text encoder and tokenizer, and the start as "transformer".
        start: What the network starts from; None for fresh weights.
        base: The CogVideoX that a LoRA to start from belongs to; None for other starts.
    """

    files: ModelFiles
    start: Path | None
    base: Path | None = None


def find_parts(spec: StarCogVideoXSpec, config: TrainConfig, word: str) -> FoundParts:
    """Find the network's start and the fixed parts.

    Args:
        spec: The model.
        config: The recipe.
        word: Name of a start of the model ("cogvideox-5b-transformer"), "star-cogvideox-5b", a path, or "" for none.

    Raises:
        WeightsError: Something is not on this machine; the message names the command that gets it.
        DataError: The word is that of another model.
    """
    own = Path(config.models).expanduser() if config.models else None
    if own is not None and not own.is_dir():
        raise WeightsError(f"recipe key models: there is no folder {own}")
    part = _component(spec, word)
    path = Path(word).expanduser() if word and part is None else None
    if own is None and path is not None and (path / "model_index.json").is_file():
        own = path  # a whole model
    places, base = Places(own), None
    if path is not None and path.is_file() and is_adapter(path):
        base = spec.files_in(path).get("transformer")
        if base is None:
            raise WeightsError(f"{path} was trained on another model than {spec.name}: begin with one of {spec.name}")
    found = find_start(part or "", spec, path, places)
    files = {key: file for key, file in found.items() if key != "lora"}
    return FoundParts(files, path or files.get("transformer"), base)


def _component(spec: StarCogVideoXSpec, word: str) -> PartName | None:
    """Return the published weights that a word names; None if it names none.

    Raises:
        DataError: It names those of a model that nobody has published.
    """
    if word == spec.name:
        if spec.weights_role not in spec.parts:
            raise DataError(f"recipe key init: nobody has published {word}; begin with {' or '.join(spec.starts)}")
        return spec.parts[spec.weights_role][0]
    return spec.starts.get(word)


def load_network(
    spec: StarCogVideoXSpec, sizes: TrainedSizes, parts: FoundParts, word: str, *, seed: int, digest: str | None = None
) -> tuple[TrainedCogVideoX, Start]:
    """Build the network with the weights that its training starts from, mapped from their file; LoRA is new.

    Args:
        spec: The model.
        sizes: Of network and LoRA.
        parts: Where the start lies.
        word: See :class:`Start`.
        seed: Of what is new.
        digest: What the start's SHA-256 must be; None takes any.

    Raises:
        WeightsError: The start is damaged, or not this network's.
        DataError: It is not what the run began with.
    """
    path = parts.start
    if path is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return TrainedCogVideoX(sizes), Start()
    if not path.exists():
        raise WeightsError(f"no weights at {path}, which the run began with: put them back")
    found = known_digest(path) if parts.base is not None else start_digest(path)
    if digest is not None and found != digest:
        raise DataError(
            f"{path} is not what the run began with (SHA-256 {found}, then {digest}): the parts that do not train are "
            "read from it, so put it back, or begin another run"
        )
    read = _read(parts, sizes)
    check_same_sizes(read.config, sizes.transformer, path, spec.name)
    network = build_empty(lambda: TrainedCogVideoX(sizes))
    tensors, new = read.tensors, _new_tensors(network.transformer, read, seed)
    check_fit(network.transformer.state_dict(), tensors, path, new=new.keys())
    network.transformer.load_state_dict({**tensors, **new}, assign=True)
    is_name = word == spec.name or word in spec.starts
    return network.train(), Start(word if is_name else str(path.resolve()), path, found, tuple(new))


def _read(parts: FoundParts, sizes: TrainedSizes) -> Network:
    assert parts.start is not None
    if parts.base is not None:
        return read_adapted(parts.base, parts.start, sizes.transformer)
    return read_start(parts.start, config=sizes.transformer)


def _new_tensors(transformer: nn.Module, read: Network, seed: int) -> dict[str, Tensor]:
    """Draw what the start does not have: LoRA, and LIEM if it is a plain CogVideoX."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        new = fresh_lora(transformer)
        if is_stock(read.tensors):
            for name in sorted(gate_names(transformer.state_dict())):
                gate = SpatialGate() if ".spa_local." in name else TokenGate()
                new[name] = gate.conv1.weight.detach()
    return new


def check_stages(config: TrainConfig, sizes: TrainedSizes) -> None:
    """Refuse stages that leave LoRA untrained, or train one that is not there.

    Raises:
        DataError: There is such a stage, or nothing trains LoRA.
    """
    words = [stage.trained_parts for stage in config.stage]
    if sizes.lora_rank == 0:
        for number, trained in enumerate(words):
            if "lora" in trained:
                raise DataError(
                    f"stage.{number} trains lora, and network.lora_rank is 0: raise it, or write what else trains, "
                    'such as trains = "all"'
                )
    elif words and not any({"lora", "all"} & set(trained) for trained in words):
        raise DataError("no stage trains lora: add it to trains, or set network.lora_rank = 0")


def check_start_trains(start: Start, words: Sequence[Sequence[str]], patch_is_new: bool) -> None:
    """Refuse a start whose new parts would stay as they were drawn.

    Args:
        start: What the network begins with.
        words: The parts that each stage trains.
        patch_is_new: Whether the low-quality latents have no weights yet.

    Raises:
        DataError: No stage trains them.
    """
    trained = {word for stage in words for word in stage}
    needed = {"liem"} if any(name.endswith(GATE_PARTS) for name in start.new) else set()
    if patch_is_new:
        needed.add("patch")
    if words and "all" not in trained and not needed <= trained:
        lost = " and ".join(sorted(needed - trained))
        raise DataError(
            f"{start.path} is a plain CogVideoX, to which STAR adds gates and input channels, and no stage trains "
            f"{lost}: add it to trains"
        )


def load_fixed_vae(files: ModelFiles, sizes: TrainedSizes, config: TrainConfig, device: torch.device | str) -> Any:
    """Load the VAE for training: float32, its decoder in the type of `run.codec_precision`, resnets recomputed."""
    factor = SCALING_5B if sizes.use_rotary_positional_embeddings else SCALING_2B
    vae = load_vae(files, dtype=torch.float32, scaling_factor=factor)
    if config.run.codec_precision == "bf16":
        for module in (vae.decoder, vae.post_quant_conv):
            if module is not None:
                module.to(torch.bfloat16)
    if config.run.activation_checkpointing:
        vae.enable_gradient_checkpointing()
    return vae.to(device)


def whole_tensors(
    spec: StarCogVideoXSpec, sizes: TrainedSizes, parts: FoundParts, start: Start, own: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """Return all tensors by the names of the transformer, LoRA apart; what never trained comes from the start.

    Args:
        spec: The model.
        sizes: Of network and LoRA.
        parts: Where the start lies.
        start: What the run began with.
        own: What the run has, by the names of the network that trains.
        seed: Of the recipe.

    Raises:
        WeightsError: The start is gone or damaged.
        DataError: It is something else now, or the checkpoint is incomplete.
    """
    tensors = {name.removeprefix(PREFIX): value for name, value in own.items()}
    names = build_empty(lambda: TrainedCogVideoX(sizes)).transformer.state_dict()
    if all(name in tensors for name in names):
        return {name: tensors[name] for name in names}
    if start.path is None:
        lost = [name for name in names if name not in tensors]
        raise DataError(f"the checkpoint lacks {len(lost)} tensors ({lost[0]}, ...): it is damaged; use the one before")
    network, _ = load_network(spec, sizes, parts, start.word, seed=seed, digest=start.digest)
    return {**network.transformer.state_dict(), **tensors}
