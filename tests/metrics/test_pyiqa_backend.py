"""The optional backend: what is missing is told, terms are asked for, and frames reach it as it wants them."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from starvsr.errors import WeightsError
from starvsr.metrics import pyiqa_backend
from starvsr.metrics.evaluate import measure
from starvsr.metrics.registry import available


@pytest.fixture
def stand_in(monkeypatch):
    module = types.ModuleType("pyiqa")
    module.__spec__ = importlib.machinery.ModuleSpec("pyiqa", None)
    module.create_metric = lambda kind, device: lambda picture: 100 * picture.mean() + len(kind)
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    pyiqa_backend._network.cache_clear()
    yield module
    pyiqa_backend._network.cache_clear()


def test_without_the_package_the_metric_is_missing_with_a_reason(monkeypatch):
    monkeypatch.setattr(pyiqa_backend, "find_spec", lambda name: None)
    missing = available(["musiq", "psnr_y_db"]).missing
    assert (
        missing.keys() == {"musiq"} and "pip install pyiqa" in missing["musiq"] and "Noncommercial" in missing["musiq"]
    )


def test_its_terms_have_to_be_accepted(stand_in, monkeypatch):
    monkeypatch.delenv("STARVSR_ACCEPT_NON_COMMERCIAL", raising=False)
    assert "STARVSR_ACCEPT_NON_COMMERCIAL=pyiqa" in available(["clipiqa"]).missing["clipiqa"]
    with pytest.raises(WeightsError, match="forbids commercial use"):
        measure(np.zeros((1, 8, 8, 3), np.uint8), metrics=["clipiqa"], crop_px=0)


def test_frames_reach_it_as_rgb_from_0_to_1(stand_in, monkeypatch):
    monkeypatch.setenv("STARVSR_ACCEPT_NON_COMMERCIAL", "dover, pyiqa")
    clip = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (0, 51, 255)])
    found = measure(clip, metrics=["musiq", "clipiqa"], crop_px=0)
    assert found["musiq"] == pytest.approx([5, 25, 105]) and found["clipiqa"] == pytest.approx([7, 27, 107])


def test_a_failing_download_is_told(stand_in, monkeypatch):
    def fail(kind, device):
        raise OSError("no route to host\nmore")

    stand_in.create_metric = fail
    monkeypatch.setenv("STARVSR_ACCEPT_NON_COMMERCIAL", "pyiqa")
    with pytest.raises(WeightsError, match=r"cannot make its metric 'musiq' \(no route to host\)"):
        measure(np.zeros((1, 8, 8, 3), np.uint8), metrics=["musiq"], crop_px=0)
