"""An entry with more networks than one, files without tensors, and weights that no other family uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from starvsr.errors import WeightsError
from starvsr.families.entry import Entry
from starvsr.families.registry import MODELS, all_components
from starvsr.families.settings import NoSettings
from starvsr.models.weights import find_model, read_tensors
from starvsr.models.weights.cache import Places
from starvsr.models.weights.components import Component, HubFile
from starvsr.models.weights.model_folder import FolderPart, write_folder


def component(role: str, *files: str) -> Component:
    return Component(
        name=f"frames-{role}", role=role, summary="", repos=("someone/frames",), bytes=1, licence="MIT",
        files=tuple(HubFile(file) for file in files), layout="diffusers",
    )  # fmt: skip


PARTS = {
    "unet": (component("unet", "unet/config.json", "unet/model.safetensors"),),
    "controlnet": (component("controlnet", "controlnet/model.safetensors"),),
    "scheduler": (component("scheduler", "scheduler/scheduler_config.json"),),
    "flow": (component("flow", "raft_large.pth"),),
}
LAYOUT = {
    "unet": "unet",
    "unet/config.json": "unet/config.json",
    "controlnet": "controlnet",
    "scheduler/scheduler_config.json": "scheduler/scheduler_config.json",
    "flow": "flow",
}


def list_parts(entry: Entry, files: dict[str, Path]) -> list[FolderPart]:
    networks = [
        FolderPart(role=role, folder=role, made_by=("starvsr", role), source=files[role])
        for role in ("unet", "controlnet", "flow")
    ]
    settings = {"scheduler_config.json": (files["scheduler/scheduler_config.json"], "steps")}
    return [*networks, FolderPart(role="scheduler", folder="scheduler", made_by=("x", "DDPM"), copies=settings)]


FRAMES = Entry(
    name="frames", summary="", scale=4, licence="MIT", settings=NoSettings, loader="none:none", parts=PARTS,
    layout=LAYOUT, weights_role="controlnet", folder=f"{__name__}:list_parts", folder_class="FramesPipeline",
)  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The files as a user has put them into a folder."""
    own = tmp_path / "own"
    for place in ("unet", "controlnet", "scheduler"):
        (own / place).mkdir(parents=True)
    save_file({"a": torch.zeros(2)}, own / "unet" / "model.safetensors")
    save_file({"b": torch.zeros(2)}, own / "controlnet" / "model.safetensors")
    torch.save({"c": torch.zeros(2)}, own / "raft_large.pth")
    (own / "unet" / "config.json").write_text("{}")
    (own / "scheduler" / "scheduler_config.json").write_text("{}")
    return own


def test_all_kinds_of_files_are_found(own: Path, tmp_path: Path) -> None:
    found = find_model(FRAMES, places=Places(own, tmp_path / "none"))
    assert {key: path.name for key, path in found.items()} == {
        "unet": "model.safetensors",
        "unet/config.json": "config.json",
        "controlnet": "model.safetensors",
        "scheduler/scheduler_config.json": "scheduler_config.json",
        "flow": "raft_large.pth",
    }
    (own / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(WeightsError, match=r"frames: frames-scheduler is not on this machine"):
        find_model(FRAMES, places=Places(own, tmp_path / "none"))


def test_bare_weights_play_the_role_that_the_entry_names(own: Path, tmp_path: Path) -> None:
    save_file({"b": torch.ones(2)}, tmp_path / "tuned.safetensors")
    found = find_model(FRAMES, tmp_path / "tuned.safetensors", Places(own, tmp_path / "none"))
    assert found["controlnet"] == tmp_path / "tuned.safetensors" and found["unet"].parent == own / "unet"


def test_its_model_folder_is_written_and_found_whole(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starvsr.families.entry._named", lambda reference: list_parts)
    parts = FRAMES.folder_parts(find_model(FRAMES, places=Places(own, tmp_path / "none")))
    write_folder(parts, tmp_path / "frames", pipeline=FRAMES.folder_class, name="frames")
    nowhere = Places(tmp_path / "none", tmp_path / "none")
    with pytest.raises(WeightsError, match=r"frames-unet, frames-controlnet, .* are not on"):
        find_model(FRAMES, places=nowhere)
    found = find_model(FRAMES, tmp_path / "frames", nowhere)
    assert read_tensors(found["flow"]).keys() == {"c"} and "scheduler/scheduler_config.json" in found


def test_a_familys_own_weights_can_be_fetched_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "frames", FRAMES)
    assert all_components()["frames-flow"].files[0].path == "raft_large.pth"
    assert [part.name for part in FRAMES.components()] == [f"frames-{role}" for role in PARTS]
