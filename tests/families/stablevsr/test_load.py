import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import starvsr
from starvsr.errors import OptionError, WeightsError
from starvsr.families.registry import get_entry
from starvsr.video.codec_pass import write_lossless
from tests.families.stablevsr.clips import clip


def load(folder, **options):
    return get_entry("stablevsr").load(weights=folder, flow="dis", **options)


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_clip_is_enlarged_and_the_seed_decides_it(folder):
    model = load(folder)
    first, again, other = (model.upscale_clip(clip(), seed=seed, num_steps=2) for seed in (1, 1, 2))
    assert first.shape == (1, 3, 4, 128, 144) and first.isfinite().all() and float(first.abs().max()) <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_only_the_frames_that_are_kept_are_given(folder):
    model = load(folder)
    whole = model.upscale_clip(clip(), num_steps=1)
    kept = list(model.upscale_frames(clip(), slice(1, 3), num_steps=1))
    assert len(kept) == 2 and torch.equal(torch.stack(kept, 1), whole[0, :, 1:3])


def test_sides_of_any_size_but_the_smallest(folder):
    model = load(folder)
    assert model.upscale_clip(clip(2, 33, 35), num_steps=1).shape[-2:] == (132, 140)
    with pytest.raises(OptionError, match="at least 32 px"):
        model.upscale_clip(clip(2, 31, 40), num_steps=1)


def test_a_job_from_a_folder_to_a_file(folder, tmp_path):
    frames = (np.random.default_rng(0).random((5, 32, 48, 3)) * 255).astype(np.uint8)
    write_lossless(tmp_path / "in.mkv", frames)
    out = [tmp_path / "out1.mkv", tmp_path / "out2.mkv"]
    for path in out:
        starvsr.upscale(tmp_path / "in.mkv", path, model="stablevsr", weights=folder, flow="dis", steps=1, codec="ffv1")
    assert out[0].read_bytes() == out[1].read_bytes()


def test_small_frames_and_too_many_steps_are_refused_before_any_work(folder, tmp_path):
    frames = np.zeros((2, 32, 30, 3), np.uint8)
    write_lossless(tmp_path / "small.mkv", frames)
    write_lossless(tmp_path / "in.mkv", np.zeros((2, 32, 32, 3), np.uint8))
    model = load(folder)
    with pytest.raises(OptionError, match="at least 32 px on each side, not 30x32"):
        starvsr.prepare(tmp_path / "small.mkv", tmp_path / "out.mkv", upscaler=model)
    with pytest.raises(OptionError, match="choose fewer steps"):
        starvsr.prepare(tmp_path / "in.mkv", tmp_path / "out.mkv", upscaler=model, steps=1000)


def test_old_names_of_the_attention_and_unused_tensors_are_taken(folder, published):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in load_file(path).items():
        for today, before in names.items():
            name = name.replace(f".{today}.", f".{before}.")
        old[name] = tensor
    assert old.keys() != load_file(path).keys()
    save_file(old, path)
    text = folder / "text_encoder" / "model.safetensors"
    save_file({**load_file(text), "text_model.embeddings.position_ids": torch.arange(77)[None]}, text)
    assert torch.equal(
        load(folder).upscale_clip(clip(2), num_steps=1), load(published).upscale_clip(clip(2), num_steps=1)
    )


def test_a_network_with_noise_level_embedding_is_refused(folder):
    change(folder / "unet" / "config.json", num_class_embeds=1000)
    with pytest.raises(WeightsError, match="noise-level embedding"):
        load(folder)


def test_a_scheduler_of_another_kind_is_refused(folder):
    change(folder / "scheduler" / "scheduler_config.json", beta_schedule="squaredcos_cap_v2")
    with pytest.raises(WeightsError, match=r"scheduler_config\.json.*beta_schedule"):
        load(folder)


def test_a_damaged_configuration_is_named(folder):
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize("part", ["controlnet", "scheduler", "tokenizer"])
def test_a_missing_part_is_named(folder, part, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    shutil.rmtree(folder / part)
    role = {"controlnet": "tcm"}.get(part, part)
    with pytest.raises(WeightsError, match=f"stablevsr-{role}"):
        load(folder)


def test_a_bare_file_is_refused(folder):
    with pytest.raises(WeightsError, match="is no folder"):
        load(folder / "unet" / "diffusion_pytorch_model.safetensors")
