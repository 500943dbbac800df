"""LPIPS, tLPIPS and DISTS against values that the released code gave on networks filled by a formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from starvsr.errors import MissingWeightsError, OptionError, WeightsError
from starvsr.metrics.dists import Dists, L2Pool, distances
from starvsr.metrics.lpips import Lpips, change_distances, frame_distances, load_lpips, lpips
from starvsr.metrics.metric import FrameSet
from starvsr.metrics.registry import available
from starvsr.models.imagenet import alexnet, load_trunk, vgg16
from starvsr.models.weights.metric_files import METRIC_FILES, find_metric_file
from tests.metrics.filled import filled
from tests.metrics.synthetic_clips import DISTORTIONS, reference, sha256

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("perceptual.json").read_text())
TRUNKS = {"alex": alexnet, "vgg": vgg16}
NAMES = {"alex": list(DISTORTIONS), "vgg": ["noise24", "inverted"]}
"""VGG16 is slow: all seven pairs agree, two stay."""


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    made = reference(2, 128, 160)
    assert sha256(made) == GOLDEN["clip_sha256"]
    return made


@pytest.fixture(scope="module")
def trunks():
    return {net: filled(build()) for net, build in TRUNKS.items()}


def heads_of(net: str) -> list[torch.Tensor]:
    try:
        path = find_metric_file(f"lpips-{net}-heads", "this test")
    except MissingWeightsError as error:
        pytest.skip(str(error))
    state = torch.load(path, weights_only=True, map_location="cpu")
    return [state[f"lin{index}.model.1.weight"] for index in range(5)]


@pytest.mark.parametrize("net", TRUNKS)
def test_unweighted_distances_are_the_golden_ones(clip, trunks, net):
    network = Lpips(trunks[net])
    for name in NAMES[net]:
        expected = GOLDEN["lpips"][net][name]["no_heads"]
        np.testing.assert_allclose(
            lpips(clip, DISTORTIONS[name](clip), network=network), expected, rtol=2e-6, atol=2e-6
        )


@pytest.mark.parametrize("net", TRUNKS)
def test_distances_with_the_published_heads_are_the_golden_ones(clip, trunks, net):
    network = Lpips(trunks[net], heads_of(net))
    for name in NAMES[net][:2]:
        expected = GOLDEN["lpips"][net][name]["lpips_v0_1_heads"]
        np.testing.assert_allclose(lpips(clip, DISTORTIONS[name](clip), network=network), expected, atol=2e-6)


def test_tlpips_is_the_golden_one(clip, trunks):
    network = Lpips(trunks["alex"], heads_of("alex"))
    hq = DISTORTIONS["noise24"](clip)
    first, second = change_distances(network, (FrameSet(b, a) for a, b in zip(clip, hq, strict=True)))
    assert np.isnan(first)
    assert second == pytest.approx(1000 * GOLDEN["tlpips_alex_noise24"]["abs_diff"], abs=2e-3)


def test_heads_weight_the_layers(clip, trunks):
    """By another route: one head of ones and the others of zeros give that layer's share."""
    hq = DISTORTIONS["noise24"](clip)[:1]
    shares = []
    for chosen in range(5):
        heads = [torch.full((size,), float(index == chosen)) for index, size in enumerate(trunks["alex"].channels)]
        shares.append(lpips(clip[:1], hq, network=Lpips(trunks["alex"], heads))[0])
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(GOLDEN["lpips"]["alex"]["noise24"]["no_heads"][0], abs=1e-5)


def test_streamed_values_are_those_of_arrays(clip, trunks):
    network, hq = Lpips(trunks["alex"]), DISTORTIONS["box4_nearest"](clip)
    streamed = list(frame_distances(network, (FrameSet(b, a) for a, b in zip(clip, hq, strict=True))))
    assert streamed == lpips(clip, hq, network=network).tolist()
    with pytest.raises(OptionError, match="at least 32x32 px after the crop, not 160x28"):
        lpips(clip[:, :28], hq[:, :28], network=network)


def test_dists_is_the_golden_one(clip):
    i = np.arange(1475)
    weights = [
        torch.from_numpy(values.astype(np.float32)) for values in (0.1 + 0.05 * np.sin(i), 0.1 + 0.05 * np.cos(2 * i))
    ]
    network = Dists(filled(vgg16(L2Pool)), *weights)
    for name in NAMES["vgg"]:
        sets = (FrameSet(b, a) for a, b in zip(clip, DISTORTIONS[name](clip), strict=True))
        np.testing.assert_allclose(list(distances(network, sets)), GOLDEN["dists"]["values"][name], atol=5e-6)


def test_missing_weights_name_the_command_and_the_licence(monkeypatch, tmp_path):
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(MissingWeightsError, match=r"alexnet-owt-7be5be79.pth .*BSD-3.*load_state_dict_from_url"):
        find_metric_file("alexnet-imagenet", "LPIPS (alex)")
    assert available(["lpips_vgg", "psnr_y_db"]).missing.keys() == {"lpips_vgg"}
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"cut off")
    with pytest.raises(WeightsError, match="damaged or another release"):
        find_metric_file("alexnet-imagenet", "LPIPS (alex)")


def test_files_in_the_own_folder_and_in_the_cache_of_torch_are_found(monkeypatch, tmp_path, clip):
    """The whole way from files to values, on stand-ins with torchvision's names."""
    torch.save(filled(alexnet()).state_dict() | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "trunk.pth")
    torch.save(
        {f"lin{i}.model.1.weight": torch.ones(1, c, 1, 1) for i, c in enumerate(alexnet().channels)}, tmp_path / "h"
    )
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (tmp_path / "trunk.pth").rename(hub / METRIC_FILES["alexnet-imagenet"].file)
    (tmp_path / "h").rename(tmp_path / METRIC_FILES["lpips-alex-heads"].file)
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("starvsr.models.weights.metric_files._digest", lambda path, time: "7be5be79df73285e" * 4)
    monkeypatch.setitem(vars(METRIC_FILES["lpips-alex-heads"]), "sha256", "7be5")
    found = lpips(clip, DISTORTIONS["noise24"](clip), network=load_lpips("alex"))
    np.testing.assert_allclose(found, GOLDEN["lpips"]["alex"]["noise24"]["no_heads"], rtol=2e-6)


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold a trunk"):
        load_trunk(alexnet(), tmp_path / "other.pth")
