"""What fails, or surprises, in the released code does not here: the list of facts about it, point by point."""

import json
import shutil
import sys

import pytest
import torch

from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.families.stablevsr.sampling import Guidance, sample
from starvsr.offload.weights import OffloadedModule
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_load import change


def test_guidance_by_a_prompt_works(model):
    """There the latent is doubled and the frame is not."""
    plain, guided = run(model, clip(2)), run(model, clip(2), guidance=3.0, prompt="a cat")
    assert guided.shape == plain.shape and guided.isfinite().all() and not torch.equal(guided, plain)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_results_are_in_the_order_of_the_frames_after_any_number_of_steps(model, steps):
    """There an odd number returns latents in reverse. Without conditioning a frame does not depend on the others."""
    lq = clip(3)
    whole = run(model, lq, steps=steps, texture_scale=0.0)
    alone = run(model, lq[:, :, :1], steps=steps, texture_scale=0.0)
    torch.testing.assert_close(whole[:1], alone, atol=1e-4, rtol=0)


def test_a_whole_number_may_be_the_conditioning_scale():
    """There it must be a float."""
    assert Guidance(1).scale_at(0, 2) == 1


def test_progress_is_told_once_for_each_step(model):
    """There callbacks are called once for each frame, with all latents in the order of the step."""
    told = []
    run(model, clip(3), on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_a_clip_without_dark_pixels_is_not_normalised_twice(model):
    """There [-1, 1] is told from [0, 1] by whether a frame has a negative value."""
    seen = []
    networks, original = model.pipeline().loaded.unet, model.pipeline().loaded.unet.conv_in.forward
    networks.conv_in.forward = lambda inputs: seen.append(inputs[:, 4:].clone()) or original(inputs)
    lq = clip(1, 32, 32).abs()
    try:
        run(model, lq, steps=1)
    finally:
        networks.conv_in.forward = original
    assert torch.equal(seen[0], lq[:, :, 0])


def test_frames_whose_sides_are_no_multiples_of_four_keep_their_size(model):
    """There they are made smaller."""
    assert run(model, clip(2, 33, 35), steps=1).shape[-2:] == (132, 140)


def test_the_scaling_factor_is_that_of_the_folder(folder, published, model):
    """Rounding it, or 1/12, changes results."""
    change(folder / "vae" / "config.json", scaling_factor=1 / 12)
    other = get_entry("stablevsr").load(weights=folder, flow="dis")
    assert float((run(other, clip(1)) - run(model, clip(1))).abs().max()) > 1e-5


def test_a_result_does_not_depend_on_what_was_enlarged_before(model):
    """There all sequences draw from one generator."""
    first = run(model, clip(2), seed=3)
    run(model, clip(4, seed=6), seed=9)
    torch.manual_seed(1234)
    assert torch.equal(run(model, clip(2), seed=3), first)


def test_xformers_is_not_needed(model):
    run(model, clip(2), steps=1)
    assert "xformers" not in sys.modules


def test_the_index_may_name_the_released_scheduler_class(folder, model):
    """A pipeline saved by the released code names a module of its own, which nobody else can import."""
    index = {"_class_name": "StableVSRPipeline", "scheduler": ["scheduler.ddpm_scheduler", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    other = get_entry("stablevsr").load(weights=folder, flow="dis")
    assert torch.equal(run(other, clip(2)), run(model, clip(2)))


@pytest.mark.parametrize("place", [".", "controlnet"])
def test_a_trained_tcm_is_taken_from_a_checkpoint_and_from_the_last_folder(folder, model, tmp_path, place):
    """There the last folder of a training, which has no folder controlnet, does not open."""
    trained = tmp_path / "OUTPUT"
    shutil.copytree(folder / "controlnet", trained / place, dirs_exist_ok=True)
    same = get_entry("stablevsr").load(weights=folder, flow="dis", tcm=trained)
    assert torch.equal(run(same, clip(2)), run(model, clip(2)))
    assert same.traits.digest != model.traits.digest


def test_another_tcm_changes_the_result(folder, model, tmp_path):
    from safetensors.torch import load_file, save_file

    trained = shutil.copytree(folder / "controlnet", tmp_path / "trained")
    path = trained / "diffusion_pytorch_model.safetensors"
    save_file({name: 0.5 * tensor for name, tensor in load_file(path).items()}, path)
    other = get_entry("stablevsr").load(weights=folder, flow="dis", tcm=trained)
    assert not torch.equal(run(other, clip(2)), run(model, clip(2)))


def test_weights_move_for_each_phase_and_not_for_each_frame(model, monkeypatch):
    """There hooks swap UNet and autoencoder at every frame of every step."""
    moved = []
    onload = OffloadedModule.onload
    monkeypatch.setattr(OffloadedModule, "onload", lambda self, *given: moved.append(self) or onload(self, *given))
    for frames, steps in ((2, 1), (3, 2)):
        pipeline = model.pipeline()
        pipeline.memory.apply_plan(StableVSRPlan("offload"))
        moved.clear()
        list(pipeline.upscale_frames(clip(frames), slice(None), num_steps=steps))
        pipeline.memory.end()
        assert moved and max(moved.count(each) for each in moved) <= 2  # the decoder serves two phases


def test_networks_are_not_asked_where_conditioning_has_no_weight(model):
    """There a window of 0 still decodes, warps and runs the TCM."""
    loaded, calls = model.pipeline().loaded, []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in (("tcm", loaded.tcm), ("decoder", loaded.decoder))
    ]
    try:
        run(model, clip(3), texture_scale=0.0)
        assert calls == ["decoder"] * 3  # the result
        calls.clear()
        run(model, clip(3), steps=4, texture_start=0.5)
        assert calls.count("tcm") == 4 and calls.count("decoder") == 4 + 3
    finally:
        for hook in hooks:
            hook.remove()


def test_the_guidance_is_not_clamped():
    """As there: the networks have learned values beyond [-1, 1]."""
    from tests.families.stablevsr.test_sampling import SCHEDULER, Recorder

    networks, noise = Recorder(), torch.zeros(1, 4, 4, 4)
    flow = lambda target, source: torch.zeros(1, 2, 16, 16)  # noqa: E731
    guidance = Guidance(warp=lambda frames, _: frames)
    steps = SCHEDULER.timesteps(2)
    sample(networks, SCHEDULER, torch.zeros(2, 3, 4, 4), [noise] * 2, flow, steps, lambda *_: noise, guidance=guidance)
    assert max(told for *_, told, _ in networks.asked if told is not None) == 3
