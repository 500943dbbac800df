"""Networks of other projects are read from their files by ncnn and spandrel."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from starvsr.errors import WeightsError
from starvsr.families.network_files.ncnn_network import NcnnUpscaler
from starvsr.families.network_files.spandrel_network import SpandrelUpscaler
from tests.support.spandrel_stand_in import Spandrel

PARAM = """7767517
3 3
Input data 0 1 data
Interp up 1 1 data large 0=1 1={scale}.0 2={scale}.0
Noop out 1 1 large output
"""


def test_a_network_of_ncnn_enlarges_and_travels(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    (tmp_path / "near.param").write_text(PARAM.format(scale=3))
    (tmp_path / "near.bin").touch()
    made = NcnnUpscaler("near", tmp_path / "near.param", 1)
    lq = torch.rand(1, 3, 2, 5, 7) * 2 - 1
    expected = lq.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert made.scale == 3
    for one in (made, pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(one.upscale_clip(lq), expected, atol=1e-3, rtol=0)
    (tmp_path / "near.param").write_text(PARAM.format(scale=8))
    with pytest.raises(WeightsError, match="must enlarge 1 to 4 times"):
        NcnnUpscaler("near", tmp_path / "near.param", 1)


def test_a_network_that_spandrel_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spandrel", Spandrel)
    file = tmp_path / "net.pth"
    file.write_text("2")
    lq = torch.rand(1, 3, 2, 4, 6) * 2 - 1
    made = SpandrelUpscaler("net", file)
    torch.testing.assert_close(made.upscale_clip(lq), lq.repeat_interleave(2, -1).repeat_interleave(2, -2))
    file.write_text("8")
    with pytest.raises(WeightsError, match="8 times larger; give one that enlarges RGB pictures 1 to 4 times"):
        SpandrelUpscaler("net", file)
    file.write_bytes(b"bad")
    with pytest.raises(WeightsError, match=r"spandrel cannot read it \(unknown architecture\)"):
        SpandrelUpscaler("net", file)
