"""DOVER's networks against numbers of the published code, published names, and plain formulations."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from starvsr.errors import WeightsError
from starvsr.metrics.dover.convnext import ConvNeXt3D
from starvsr.metrics.dover.network import Dover, ScoreHead, load_dover
from starvsr.metrics.dover.swin import SwinTransformer3D, WindowAttention, join_windows, split_windows, window_places
from starvsr.models.weights.assign import build_empty
from tests.metrics.dover_filled import clip, filled, normalized

FOLDER = Path(__file__).with_name("golden")
GOLDEN = json.loads((FOLDER / "dover.json").read_text())


def check(features: torch.Tensor, name: str) -> None:
    expected = GOLDEN[name]
    flat = features.flatten().double()
    assert list(features.shape) == expected["shape"]
    places = torch.linspace(0, len(flat) - 1, len(expected["values"])).long()
    np.testing.assert_allclose(flat[places], expected["values"], atol=2e-5)
    assert [float(flat.mean()), float(flat.std())] == pytest.approx([expected["mean"], expected["std"]], abs=2e-6)


@torch.inference_mode()
def test_features_are_those_of_the_published_code():
    swin = filled(SwinTransformer3D(12, (2, 2, 2), (2, 3, 4)))
    check(swin(normalized(clip(32, 112, 112))), "swin")
    convnext = filled(ConvNeXt3D((1, 3, 4, 2), (8, 16, 24, 32)))
    check(convnext(normalized(clip(8, 64, 96))), "convnext")


@pytest.mark.slow
@pytest.mark.parametrize(("build", "name"), [(SwinTransformer3D, "swin_full"), (ConvNeXt3D, "convnext_full")])
@torch.inference_mode()
def test_features_and_scores_of_full_size_are_those_of_the_published_code(build, name):
    features = filled(build())(normalized(clip(32, 224, 224)))
    check(features, name)
    assert float(filled(ScoreHead())(features).mean()) == pytest.approx(GOLDEN[name]["score"], abs=1e-6)


def published_names() -> dict[str, tuple[int, ...]]:
    lines = (FOLDER / "dover_names.txt").read_text().splitlines()
    return {name: tuple(map(int, shape.split("x"))) for name, shape in (line.split() for line in lines)}


def test_names_and_shapes_are_the_published_ones():
    own = {name: tuple(one.shape) for name, one in build_empty(Dover).state_dict().items()}
    published = published_names()
    indices = {name for name in published if name.endswith("relative_position_index")}
    assert len(indices) == 12 and own == {name: shape for name, shape in published.items() if name not in indices}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A file as published, each tensor of one value, so that it is small on disk."""
    index = WindowAttention(8, 1, (8, 7, 7), False).relative_position_index
    return {
        name: index if name.endswith("relative_position_index") else torch.full((1,), 0.01 * k).expand(shape)
        for k, (name, shape) in enumerate(published_names().items())
    }


def test_a_file_is_loaded_strictly(state, tmp_path):
    path = tmp_path / "DOVER.pth"
    torch.save(state, path)
    loaded = load_dover(path=path).state_dict()
    assert len(loaded) == len(state) - 12 and all(torch.equal(loaded[name], state[name]) for name in loaded)
    index = "technical_backbone.layers.2.blocks.3.attn.relative_position_index"
    broken = [
        ({name: one for name, one in state.items() if "aesthetic_head.fc_last.bias" not in name}, "fc_last.bias"),
        (state | {"vqa_head.fc.weight": torch.zeros(1)}, r"1 unexpected \(vqa_head.fc.weight\)"),
        (state | {"technical_backbone.norm.weight": torch.ones(3)}, "1 of another shape"),
        (state | {index: state[index].T.contiguous()}, "relative_position_index differs"),
        ({name: one for name, one in state.items() if name != index}, "relative_position_index is missing"),
    ]
    for tensors, message in broken:
        torch.save(tensors, path)
        with pytest.raises(WeightsError, match=message):
            load_dover(path=path)


def plain_attention(attention: WindowAttention, x: np.ndarray, window, shift) -> np.ndarray:
    """Attend one position at a time, in the coordinates of the picture, float64."""
    sides, heads = x.shape[:3], attention.num_heads
    places = list(product(*map(range, sides)))
    weight = {name: one.double().numpy() for name, one in attention.state_dict().items()}
    qkv = x @ weight["qkv.weight"].T + weight["qkv.bias"]
    query, key, value = np.split(qkv, 3, axis=-1)
    size = x.shape[-1] // heads
    moved = {p: tuple((a - s) % n for a, s, n in zip(p, shift, sides, strict=True)) for p in places}
    out = np.zeros_like(x)
    for p in places:
        seen = [
            q
            for q in places
            if all(a // w == b // w for a, b, w in zip(moved[p], moved[q], window, strict=True))
            and all((a < s) == (b < s) for a, b, s in zip(p, q, shift, strict=True))
        ]
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            logits = []
            for q in seen:
                away = [a % w - b % w + w - 1 for a, b, w in zip(moved[p], moved[q], window, strict=True)]
                entry = (away[0] * (2 * window[1] - 1) + away[1]) * (2 * window[2] - 1) + away[2]
                bias = weight["relative_position_bias_table"][entry, h]
                if "fragment_position_bias_table" in weight:
                    cells = [[c * w // n for c, w, n in zip(one, window, sides, strict=True)][1:] for one in (p, q)]
                    gate = sum(abs(a - b) for a, b in zip(*cells, strict=True))
                    bias = gate * bias + (1 - gate) * weight["fragment_position_bias_table"][entry, h]
                logits.append(query[p][part] @ key[q][part] / math.sqrt(size) + bias)
            share = np.exp(np.array(logits) - max(logits))
            out[p][part] = (share / share.sum()) @ np.array([value[q][part] for q in seen])
    return out @ weight["proj.weight"].T + weight["proj.bias"]


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 1, 1), (1, 0, 1)])
@pytest.mark.parametrize("has_fragment_bias", [True, False])
@torch.inference_mode()
def test_attention_is_that_of_a_plain_formulation(shift, has_fragment_bias):
    window, sides = (2, 3, 3), (4, 6, 6)
    attention = filled(WindowAttention(8, 2, window, has_fragment_bias))
    x = np.random.default_rng(0).normal(size=(*sides, 8))
    windows = split_windows(torch.from_numpy(x).float()[None].roll([-one for one in shift], (1, 2, 3)), window)
    attended = join_windows(attention(windows, window_places(sides, window, shift)), window, sides).roll(
        shift, (1, 2, 3)
    )
    np.testing.assert_allclose(attended[0].numpy(), plain_attention(attention, x, window, shift), atol=2e-5)


@torch.inference_mode()
def test_of_a_still_picture_convnext_is_the_one_for_pictures():
    transformers = pytest.importorskip("transformers")
    depths, dims = (1, 3, 2, 1), (8, 16, 24, 32)
    config = transformers.ConvNextConfig(depths=list(depths), hidden_sizes=list(dims), hidden_act="gelu")
    flat = filled(transformers.ConvNextModel(config))
    own, given = ConvNeXt3D(depths, dims), flat.state_dict()

    def tensor(name: str, like: torch.Tensor) -> torch.Tensor:
        parts = name.split(".")
        where = f"encoder.stages.{parts[1]}."
        if parts[0] == "downsample_layers" and parts[1] == "0":
            where, rest = "embeddings.", ("patch_embeddings" if parts[2] == "0" else "layernorm")
        elif parts[0] == "downsample_layers":
            rest = f"downsampling_layer.{parts[2]}"
        else:
            renamed = {"norm": "layernorm", "gamma": "layer_scale_parameter"}
            rest = f"layers.{parts[2]}.{renamed.get(parts[3], parts[3])}"
        one = given[where + rest + (f".{parts[-1]}" if parts[-1] in ("weight", "bias") else "")]
        if one.ndim != 4 or like.ndim != 5:
            return one
        inflated = torch.zeros_like(like)
        if parts[0] == "downsample_layers":
            inflated[:] = one[:, :, None] / like.shape[2]  # frames are equal
        else:
            inflated[:, :, like.shape[2] // 2] = one
        return inflated

    state = {name: tensor(name, one) for name, one in own.state_dict().items() if not name.startswith("norm.")}
    own.load_state_dict(state, strict=False)
    picture = normalized(clip(1, 64, 64))
    found = own.eval()(picture.repeat(1, 1, 4, 1, 1))
    expected = flat(picture[:, :, 0]).last_hidden_state
    expected = torch.nn.functional.layer_norm(expected.movedim(1, -1), (32,), eps=1e-6).movedim(-1, 1)
    assert found.shape == (1, 32, 2, 2, 2)
    torch.testing.assert_close(found, expected[:, :, None].expand_as(found), atol=2e-5, rtol=0)
