"""Files of tensors get the mode that the umask gives to new files, and the same bytes each time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from starvsr.models.weights import save_weights
from starvsr.models.weights.model_folder import FolderPart, write_folder
from starvsr.models.weights.save import save_tensors, set_default_mode
from starvsr.training.diffusers_folder import write_json, write_tensors

TENSORS = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
ENTRIES = {f"entry {number}": str(number) for number in range(8)}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and the umask are POSIX's")


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set a umask; gives the mode of new files under it."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def export(folder: Path) -> None:
    save_weights(TENSORS, folder / "model.safetensors", dtype=torch.float16, metadata={"format": "pt"})


def checkpoint(folder: Path) -> None:
    write_tensors(folder / "controlnet", lambda partial: write_json(partial / "config.json", {}), TENSORS)


def convert(folder: Path) -> None:
    """To one file, and to shards."""
    save_file(TENSORS, folder / "source.safetensors")
    (folder / "source.safetensors").chmod(0o666)
    for out, most in (("whole", 1 << 20), ("shards", 16)):
        part = FolderPart(
            role="unet", folder="unet", made_by=("diffusers", "UNet"), source=folder / "source.safetensors", config={}
        )
        write_folder([part], folder / out, pipeline="Pipeline", shard_bytes=most)
    (folder / "source.safetensors").unlink()


@pytest.mark.parametrize("write", [export, checkpoint, convert])
def test_written_files_have_the_mode_of_new_files(write: Callable[[Path], None], mode: int, tmp_path: Path) -> None:
    write(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".safetensors" for path in files) >= (3 if write is convert else 1)
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: oct(mode) for path in files
    }


def test_a_file_of_another_program_gets_that_mode(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    path.chmod(0o600)
    set_default_mode(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode and list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_modes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    save_tensors(TENSORS, tmp_path / "x.safetensors", {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_bytes_do_not_depend_on_the_order_of_entries(tmp_path: Path) -> None:
    """The library keeps metadata in a table whose order is drawn anew for each file."""
    contents = set()
    for number in range(4):
        save_tensors(TENSORS, tmp_path / f"{number}.safetensors", ENTRIES)
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1
    assert all(torch.equal(load_file(tmp_path / "0.safetensors")[name], TENSORS[name]) for name in TENSORS)


def test_a_failure_of_the_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    """So that who writes folders can tell it from a fault of the package."""
    with pytest.raises(OSError, match="nowhere"):
        save_tensors(TENSORS, tmp_path / "nowhere" / "x.safetensors", {})
