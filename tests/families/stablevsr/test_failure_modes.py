"""What fails, or surprises, in the released code does not here: the list of facts about it, point by point."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import starvsr
from starvsr.errors import UnreadableInputError
from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.flows import EnlargedFlows
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.families.stablevsr.sampling import Guidance, sample
from starvsr.offload.weights import OffloadedModule
from tests.families.stablevsr.clips import clip, run
from tests.families.stablevsr.test_load import change, load
from tests.families.stablevsr.test_sampling import SCHEDULER, Recorder


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
    networks, noise = Recorder(), torch.zeros(1, 4, 4, 4)
    flow = lambda target, source: torch.zeros(1, 2, 16, 16)  # noqa: E731
    guidance = Guidance(warp=lambda frames, _: frames)
    steps = SCHEDULER.timesteps(2)
    sample(networks, SCHEDULER, torch.zeros(2, 3, 4, 4), [noise] * 2, flow, steps, lambda *_: noise, guidance=guidance)
    assert max(told for *_, told, _ in networks.asked if told is not None) == 3


def test_the_latents_that_are_given_are_those_that_are_denoised():
    """There the argument is ignored."""
    seen = []

    class Watched(Recorder):
        def predict(self, x, *others):
            seen.append(x.clone())
            return super().predict(x, *others)

    latents = [torch.full((1, 4, 4, 4), float(number)) for number in (3, 7)]
    flow, noise = torch.zeros(1, 2, 16, 16), torch.zeros(1, 4, 4, 4)
    lq = torch.zeros(2, 3, 4, 4)
    sample(Watched(), SCHEDULER, lq, latents, lambda *_: flow, SCHEDULER.timesteps(1), lambda *_: noise)
    assert [float(x.mean()) for x in seen] == [3, 7]


class WatchedFlow:
    """No motion; keeps the pictures that it was asked about."""

    name = "watched"

    def __init__(self):
        self.seen = []

    def __call__(self, frames, others):
        self.seen += [frames, others]
        return torch.zeros(len(frames), 2, *frames.shape[-2:], dtype=frames.dtype)


def by_hand(line: np.ndarray) -> np.ndarray:
    """Enlarge a row of values four times by the cubic of a = -0.75, borders repeated, nothing clamped."""

    def weight(distance: float, a: float = -0.75) -> float:
        x = abs(distance)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    made = []
    for place in ((index + 0.5) / 4 - 0.5 for index in range(4 * len(line))):
        taps = [int(np.floor(place)) + offset for offset in (-1, 0, 1, 2)]
        made.append(sum(weight(place - tap) * line[min(max(tap, 0), len(line) - 1)] for tap in taps))
    return np.array(made)


def test_optical_flow_sees_the_bicubic_frames_unclamped():
    """As there: beside an edge they go beyond [-1, 1]."""
    line = np.array([-1.0, -1, -1, 1, 1, 1, -1, 1, 1, -1])
    frame = torch.from_numpy(line).float().expand(1, 3, 9, -1)
    flow = WatchedFlow()
    EnlargedFlows(torch.cat([frame, frame.flip(-1)]), flow).estimate([1])
    target, source = flow.seen
    assert float(target.max()) > 1.05 and float(target.min()) < -1.05
    np.testing.assert_allclose(source[0, 1, 20], by_hand(line), atol=1e-5)
    np.testing.assert_allclose(target[0, 0, 7], by_hand(line[::-1]), atol=1e-5)


def test_frames_in_float64_are_taken():
    """There RAFT cannot run in it: optical flow and networks get float32."""
    flow = WatchedFlow()
    frames = clip(2)[0].transpose(0, 1)
    wide, plain = EnlargedFlows(frames.double(), flow), EnlargedFlows(frames, flow)
    assert wide(1, 0).dtype == torch.float32 and flow.seen[0].dtype == torch.float32
    assert plain(1, 0).equal(wide(1, 0)) and flow.seen[0].equal(flow.seen[2])


def test_a_clip_in_float64_gives_what_it_does_in_float32(model):
    assert torch.equal(run(model, clip(2).double(), steps=1), run(model, clip(2), steps=1))


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_both_namings_of_the_text_tower_are_read(folder, model, prefix):
    """transformers 5 names its tensors without the prefix that published files have."""
    path = folder / "text_encoder" / "model.safetensors"
    save_file({prefix + name.removeprefix("text_model."): each for name, each in load_file(path).items()}, path)
    assert torch.equal(load(folder)._empty, model._empty)


def test_frames_of_different_sizes_in_a_folder_are_told_with_their_name_before_anything_is_done(model, tmp_path):
    """There they fail inside the networks."""
    for index, size in enumerate(((36, 32), (36, 32), (40, 32))):
        Image.new("RGB", size, (90, 60, 30)).save(tmp_path / f"frame_{index}.png")
    with pytest.raises(UnreadableInputError, match=r"frame_2\.png: 40x32, but the first image is 36x32") as caught:
        starvsr.prepare(tmp_path / "frame_%d.png", tmp_path / "out.mkv", upscaler=model, steps=1, codec="ffv1")
    assert "\n" not in str(caught.value)
