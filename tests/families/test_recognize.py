"""A bare file of weights finds its model by the names of its tensors; parts of two releases are not mixed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import starvsr
from starvsr.errors import OptionError, WeightsError
from starvsr.families.recognize import models_of
from starvsr.families.registry import MODELS
from starvsr.families.star_i2vgen.spec import STAR_LIGHT
from starvsr.families.star_small.spec import STAR_SMALL
from starvsr.models.star.small.model import StarSmall
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import read_tensors


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file with the names, but not the sizes, of the published network."""
    with torch.device("meta"):
        names = list(StarUNet(STAR_LIGHT.unet).state_dict())
    path = tmp_path / "light_deg.safetensors"
    save_file({name: torch.zeros(1) for name in names}, path)
    return path


def test_every_network_is_known_by_its_tensors_and_by_no_others() -> None:
    with torch.device("meta"):
        big = StarUNet(STAR_LIGHT.unet).state_dict()
        small = StarSmall(STAR_SMALL.network, STAR_SMALL.context_tokens).state_dict()
    assert models_of(big) == ["star-light", "star-heavy"]
    assert models_of(small) == models_of(read_tensors(STAR_SMALL.packaged_weights())) == ["star-small"]
    assert models_of(["encoder.conv_in.weight"]) == models_of([]) == []
    assert all(entry.marks for entry in MODELS.values() if entry.parts or entry.packaged)


def test_a_file_of_another_model_is_refused_with_both_names(published: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds weights of star-light or star-heavy, and the model is star-small"):
        starvsr.load_upscaler("star-small", weights=published)
    with pytest.raises(WeightsError, match=r"holds weights of star-small, and the model is star-light"):
        starvsr.load_upscaler("star-light", weights=STAR_SMALL.packaged_weights())


def test_a_bare_file_finds_its_model(published: Path, tmp_path: Path) -> None:
    found = starvsr.load_upscaler(weights=STAR_SMALL.packaged_weights(), device="cpu")
    assert found.name == "star-small"
    with pytest.raises(OptionError, match="it may be star-light or star-heavy; say which with --model"):
        starvsr.load_upscaler(weights=published)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match="no model has tensors of these names"):
        starvsr.load_upscaler(weights=tmp_path / "other.safetensors")


def test_tensors_of_two_models_in_one_file_are_refused_with_both_names(published: Path, tmp_path: Path) -> None:
    mixed = {**read_tensors(published), **read_tensors(STAR_SMALL.packaged_weights())}
    path = tmp_path / "mixed.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in mixed.items()}, path)
    for name in (None, "star-small", "star-light"):
        with pytest.raises(WeightsError, match=r"mixes tensors of star-light and star-small: give a file"):
            starvsr.load_upscaler(name, weights=path)


def test_a_part_of_another_model_is_enough(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.safetensors"
    some = dict(list(read_tensors(published).items())[::2])
    save_file({**some, "input_blocks.0.0.weight": torch.zeros(1), "context.tokens": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"mixes tensors of star-light and star-small"):
        starvsr.load_upscaler("star-light", weights=path)


def test_metadata_that_contradict_the_tensors_are_refused_with_both_names(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuned.safetensors"
    save_file(read_tensors(published), path, metadata={"model": "star-small"})
    with pytest.raises(
        WeightsError, match=r"says that it is star-small and has the tensors of star-light or star-heavy"
    ):
        starvsr.load_upscaler("star-light", weights=path)


def test_a_file_that_tells_its_model_is_refused_by_its_sibling(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuned.safetensors"
    save_file(read_tensors(published), path, metadata={"model": "star-heavy"})
    with pytest.raises(WeightsError, match=r"holds weights of star-heavy, and the model is star-light: give --model"):
        starvsr.load_upscaler("star-light", weights=path)
