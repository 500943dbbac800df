"""What is missing, mixed or of another kind is told in one line, before anything is computed."""

import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import starvsr
from starvsr.apps.cli import main
from starvsr.errors import OptionError, StarVsrError, WeightsError
from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.configuration import Configuration
from starvsr.models.flow import raft
from starvsr.video.codec_pass import write_lossless
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_load import change, load

TENSORS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def may_compute():
    """For tests of what is loaded."""


@pytest.fixture(autouse=True)
def nothing_is_computed(request, monkeypatch):
    """Neither texts nor frames: every refusal comes before."""
    if "may_compute" in request.fixturenames:
        return

    def fail(*_):
        raise AssertionError("something was computed before the refusal")

    monkeypatch.setattr("starvsr.families.stablevsr.load.encode_text", fail)


def refused(folder, error=WeightsError, **options):
    with pytest.raises(error) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("file", "entries", "words"),
    [
        ("unet", {"num_class_embeds": 1000}, "noise-level embedding"),
        ("unet", {"class_embed_type": "timestep"}, "noise-level embedding"),
        ("controlnet", {"num_class_embeds": 1000}, "noise-level embedding"),
        ("unet", {"addition_embed_type": "text"}, "addition_embed_type"),
        ("unet", {"in_channels": 4}, "takes 4 channels in"),
        ("controlnet", {"in_channels": 4}, "takes 4 channels in"),
        ("controlnet", {"conditioning_embedding_out_channels": [16, 32, 96, 256]}, "another ControlNet"),
        ("controlnet", {"conditioning_channels": 1}, "another ControlNet"),
        ("controlnet", {"block_out_channels": [64, 64, 64, 128]}, "parts that belong together"),
        ("vae", {"block_out_channels": [32, 64, 64, 64]}, "enlarges 8 times"),
        ("vae", {"latent_channels": 16}, "decodes 16 channels"),
        ("vae", {"scaling_factor": None}, "scaling_factor"),
        ("vae", {"scaling_factor": 0}, "scaling_factor"),
        ("text_encoder", {"hidden_size": 768}, "texts of width 768"),
        ("unet", {"down_block_types": "nonsense"}, "belong together"),
        ("vae", {"up_block_types": ["Nonsense"] * 3}, "describes no AutoencoderKL"),
    ],
)
def test_a_configuration_of_another_model_is_named(folder, file, entries, words):
    change(folder / file / "config.json", **entries)
    message = refused(folder)
    assert words in message and "config.json" in message


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ({"_class_name": "EulerDiscreteScheduler"}, "DDPMScheduler or DDIMScheduler"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule"),
        ({"prediction_type": "flow"}, "prediction_type"),
        ({"variance_type": "learned_range"}, "variance_type"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"beta_start": "small"}, "scheduler_config.json"),
        ({"num_train_timesteps": "1000"}, "scheduler_config.json"),
    ],
)
def test_a_scheduler_of_another_kind_is_named(folder, entries, words):
    change(folder / "scheduler" / "scheduler_config.json", **entries)
    message = refused(folder)
    assert words in message and "scheduler_config.json" in message


@pytest.mark.parametrize("kind", ["DDIMScheduler", "scheduler.ddpm_scheduler.DDPMScheduler"])
@pytest.mark.usefixtures("may_compute")
def test_schedulers_that_describe_the_same_schedule_are_taken(folder, kind):
    change(folder / "scheduler" / "scheduler_config.json", _class_name=kind, set_alpha_to_one=False)
    load(folder)


@pytest.mark.parametrize(("one", "other"), [("unet", "controlnet"), ("controlnet", "unet"), ("vae", "unet")])
def test_weights_in_the_place_of_others_are_refused(folder, one, other):
    shutil.copy(folder / other / TENSORS, folder / one / TENSORS)
    assert f"{one}/{TENSORS} does not fit" in refused(folder)


def test_weights_of_another_size_are_refused(folder):
    path = folder / "controlnet" / TENSORS
    tensors = load_file(path)
    tensors["conv_in.weight"] = torch.cat([tensors["conv_in.weight"]] * 2)
    save_file(tensors, path)
    assert "of another shape (conv_in.weight)" in refused(folder)


@pytest.mark.parametrize("part", ["unet", "controlnet", "vae", "text_encoder"])
@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_file_that_ends_too_early_is_named(folder, part, cut, monkeypatch):
    path = next((folder / part).glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:cut])
    if part == "text_encoder":
        monkeypatch.undo()
    assert str(path) in refused(folder)


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt"])
def test_a_missing_file_is_named(folder, name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    (folder / name).unlink()
    if "tokenizer" in name:
        monkeypatch.undo()
    message = refused(folder)
    assert name in message or "stablevsr-" in message


@pytest.mark.parametrize("content", ["", "[1]", "{", "\0"])
def test_a_configuration_that_is_no_json_object_is_named(folder, content):
    (folder / "controlnet" / "config.json").write_text(content)
    assert "controlnet/config.json" in refused(folder)


def test_a_folder_without_a_tcm_is_refused(folder, tmp_path):
    assert "no Temporal Conditioning Module" in refused(folder, tcm=tmp_path)
    assert "does not fit" in refused(folder, tcm=_with_tensors_of(folder, tmp_path / "mixed", "unet"))


def _with_tensors_of(folder, place, part):
    shutil.copytree(folder / "controlnet", place)
    shutil.copy(folder / part / TENSORS, place / TENSORS)
    return place


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_a_missing_extra_is_told_before_weights_are_read(folder, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr("starvsr.families.stablevsr.load.read_tensors", None)
    assert "pip install 'starvsr[stablevsr]'" in refused(folder, OptionError)


def test_missing_opencv_is_told_before_weights_are_read(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("starvsr.families.stablevsr.load.read_tensors", None)
    assert "starvsr[eval]" in refused(folder, OptionError)


def test_missing_torchvision_is_told_before_weights_are_read(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    monkeypatch.setattr("starvsr.families.stablevsr.load.read_tensors", None)
    with pytest.raises(OptionError, match="needs torchvision: pip install torchvision, or use --flow dis"):
        get_entry("stablevsr").load(weights=folder)


@pytest.mark.parametrize("failure", [OSError("no route to host"), RuntimeError("invalid hash value\nmore")])
@pytest.mark.usefixtures("may_compute")
def test_weights_of_raft_that_cannot_be_had_are_told(folder, monkeypatch, failure):
    library = types.ModuleType("torchvision.models.optical_flow")
    library.Raft_Large_Weights = types.SimpleNamespace(C_T_SKHT_V2="weights")

    def fails(**_):
        raise failure

    library.raft_large = fails
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", library)
    with pytest.raises(
        WeightsError, match=f"cannot get the weights of RAFT .*{raft.WEIGHTS_FILE}.*--flow dis"
    ) as caught:
        get_entry("stablevsr").load(weights=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"texture_start": 0.6, "texture_end": 0.5}, "--texture-start 0.6 lies after --texture-end 0.5"),
        ({"texture_scale": 0.0, "texture_every": 2}, "--texture-scale 0 leaves nothing to limit"),
        ({"negative_prompt": "fog"}, "--negative-prompt has no use without guidance"),
        ({"guidance": 3.0}, "--guidance has no use between two equal texts"),
        ({"prompt": "cat " * 100}, "the text encoder reads 75: shorten it"),
    ],
)
@pytest.mark.usefixtures("may_compute")
def test_options_that_contradict_each_other_are_refused_before_any_work(model, tmp_path, values, words):
    write_lossless(tmp_path / "in.mkv", np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(OptionError, match=words):
        starvsr.prepare(tmp_path / "in.mkv", tmp_path / "out.mkv", upscaler=model, **values)


@pytest.mark.parametrize("option", [{"window": 4}, {"sampler": "ddim"}])
@pytest.mark.usefixtures("may_compute")
def test_options_of_other_models_are_refused(model, tmp_path, option):
    write_lossless(tmp_path / "in.mkv", np.zeros((2, 32, 32, 3), np.uint8))
    (name,) = option
    with pytest.raises(StarVsrError, match=f"--{name.replace('_', '-')}"):
        starvsr.prepare(tmp_path / "in.mkv", tmp_path / "out.mkv", upscaler=model, **option)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (33, 39)])
@pytest.mark.usefixtures("may_compute")
def test_clips_of_one_and_two_frames_are_enlarged(model, frames, size):
    made = run(model, clip(frames, *size), steps=1)
    assert made.shape == (frames, 3, 4 * size[0], 4 * size[1]) and made.isfinite().all()


@pytest.mark.parametrize("size", [(31, 40), (40, 31), (1, 1)])
@pytest.mark.usefixtures("may_compute")
def test_smaller_frames_are_refused(model, size):
    with pytest.raises(OptionError, match=f"at least 32 px on each side, not {size[1]}x{size[0]}"):
        run(model, clip(2, *size), steps=1)


def test_the_configuration_that_is_published_is_read(folder):
    from starvsr.models.weights.locate import find_model

    read = Configuration.read(find_model(get_entry("stablevsr"), folder))
    said = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert read.scheduler.config.num_train_timesteps == said["num_train_timesteps"]


def _class_embedding(folder):
    change(folder / "unet" / "config.json", num_class_embeds=1000)


def _another_scheduler(folder):
    change(folder / "scheduler" / "scheduler_config.json", _class_name="EulerDiscreteScheduler")


def _mixed_weights(folder):
    shutil.copy(folder / "unet" / TENSORS, folder / "controlnet" / TENSORS)


@pytest.mark.parametrize(
    ("damage", "size", "words"),
    [
        (None, (31, 40), "at least 32 px on each side, not 31x40"),
        (_class_embedding, (32, 32), "noise-level embedding"),
        (_another_scheduler, (32, 32), "EulerDiscreteScheduler"),
        (_mixed_weights, (32, 32), "does not fit"),
        ("diffusers", (32, 32), "pip install 'starvsr[stablevsr]'"),
    ],
)
@pytest.mark.usefixtures("may_compute")
def test_the_command_says_it_in_one_line_and_writes_nothing(folder, tmp_path, monkeypatch, capsys, damage, size, words):
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_lossless(source, np.zeros((1, *size[::-1], 3), np.uint8))
    if isinstance(damage, str):
        monkeypatch.setitem(sys.modules, damage, None)
    elif damage is not None:
        damage(folder)
    given = ["--model", "stablevsr", "--flow", "dis", "--weights", str(folder), "-q"]
    assert main(["upscale", str(source), "-o", str(out), *given]) != 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not out.exists() and not list(tmp_path.glob("out.mkv*"))
