"""Training of StableVSR's TCM at tiny size: what moves, what stays, and the way out to `upscale` and diffusers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import starvsr
from starvsr.apps.cli import main
from starvsr.data.pool import Batch
from starvsr.diffusion.ddpm import DDPM
from starvsr.errors import DataError, OptionError, WeightsError
from starvsr.families.stablevsr.sampling import sample
from starvsr.families.stablevsr.warp import published_warp
from starvsr.offload.trace import saved_bytes
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.families import build_model
from starvsr.training.loop import Trainer
from starvsr.training.memory import plan_recipe
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.temporal_conditioning import Draws, chain_frames, conditioned_prediction
from starvsr.training.recipe import load_recipe, make_stage
from starvsr.training.run import export
from starvsr.video.codec_pass import read_clip, write_lossless
from starvsr.video.pixels import from_unit, to_unit
from tests.support.stablevsr_folder import copy_folder, write_folder
from tests.support.stablevsr_training import random_batch, write_reds

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("cv2")

RECIPE = """
model = "stablevsr"
models = "{models}"
network = {{ conditioning_channels = [8, 12, 16] }}
seed = 4

[data]
pairs = "{pairs}"
leave_out = ["000"]
cache = "{cache}"
num_frames = 3
lq_crop = 16
clip_frames = 3
gt_size = 64
pool_size = 1
crops_per_clip = 1
turns = "horizontal"
batch = 2
workers = 0

[run]
ema = 0.5
optimizer = "adamw"
weight_decay = 0.01
log_every = 1
save_every = 1

[[stage]]
objective = "temporal-conditioning"
steps = 3
lr = 1e-3
warmup = 0
schedule = "constant"

[stage.guidance]
flow = "dis"
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "StableVSR")


@pytest.fixture(scope="module")
def reds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of four frames in the layout of REDS."""
    return write_reds(tmp_path_factory.mktemp("reds"), ["000", "001"], 4)


@pytest.fixture
def recipe(tmp_path: Path, models: Path, reds: Path) -> Path:
    path = tmp_path / "stablevsr-tiny.toml"
    path.write_text(RECIPE.format(models=models, pairs=reds, cache=tmp_path / "cache"))
    return path


def batch(num_frames: int = 3, count: int = 2) -> Batch:
    return random_batch(num_frames, count)


def loss_of(model: Any, given: Batch, seed: int = 3, **guidance: Any) -> torch.Tensor:
    tables = make_stage("temporal-conditioning", 1, guidance={"flow": "dis", **guidance}).tables
    rng = torch.Generator().manual_seed(seed)
    losses = OBJECTIVES["temporal-conditioning"].compute(model, given, tables, {}, rng).losses
    assert list(losses) == ["prediction"]
    return losses["prediction"]


def test_only_the_tcm_moves_and_it_begins_as_the_unet(recipe: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_recipe(recipe, ["stage.0.steps=1"]), tmp_path / "run")
    model: Any = trainer.model
    frozen = {"unet": model.unet, "vae": model.vae}
    before = {f"{part}.{n}": v.clone() for part, net in frozen.items() for n, v in net.state_dict().items()}
    first = {name: value.clone() for name, value in model.network.state_dict().items()}
    shared = [name for name in first if f"unet.{name}" in before]
    assert len(shared) > 200 and all(torch.equal(first[name], before[f"unet.{name}"]) for name in shared)
    zeros = [
        name
        for name in first
        if name.startswith(("controlnet_down", "controlnet_mid")) or "cond_embedding.conv_out" in name
    ]
    assert zeros and not any(first[name].any() for name in zeros)
    trainer.run()
    after = {f"{part}.{n}": v for part, net in frozen.items() for n, v in net.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = [name for name, value in model.network.state_dict().items() if not torch.equal(value, first[name])]
    assert {name for name in zeros if name.startswith("controlnet_") and "cond" not in name} <= set(moved)


def test_a_fresh_tcm_changes_nothing(recipe: Path) -> None:
    """Its loss is that of the UNet alone, computed here by hand from the schedule's formulas."""
    model: Any = build_model(load_recipe(recipe))
    given = batch(count=1)
    rng = torch.Generator().manual_seed(3)
    forwards = bool(torch.rand(1, generator=rng) < 0.5)
    assert chain_frames(given["lq"], [forwards], 1)[1].equal(given["lq"][:, :, 1])
    t = torch.randint(0, 1000, (1,), generator=rng)
    posterior, noise = torch.randn((2, 2, 1, 4, 16, 16), generator=rng)
    encoded = model.vae.encode(given["gt"][:, :, 1]).latent_dist
    latents = (encoded.mean + encoded.std * posterior[1]) * model.vae.config.scaling_factor
    alpha, sigma = (
        model.scheduler.alphas_cumprod[t].sqrt().float(),
        (1 - model.scheduler.alphas_cumprod[t]).sqrt().float(),
    )
    noisy = alpha * latents + sigma * noise[1]
    alone = model.unet(torch.cat([noisy, given["lq"][:, :, 1]], 1), t, model.text).sample
    wanted = (alone - (alpha * noise[1] - sigma * latents)).square().mean()
    torch.testing.assert_close(loss_of(model, given), wanted, rtol=1e-4, atol=1e-5)


def random_tcm(model: Any) -> None:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2, generator=generator)


def test_a_chain_is_what_sampling_does(recipe: Path) -> None:
    """The predictions of a chain of four frames are those of one step of sampling over the same frames."""
    model: Any = build_model(load_recipe(recipe))
    random_tcm(model)
    given, t = batch(num_frames=4, count=1), 401
    draws = Draws(torch.tensor([t]), torch.randn(4, 1, 4, 16, 16).unbind(), torch.randn(4, 1, 4, 16, 16).unbind())
    frames = [given["lq"][:, :, k] for k in range(4)], [given["gt"][:, :, k] for k in range(4)]
    made = conditioned_prediction(model, *frames, draws)
    asked: list[torch.Tensor] = []

    class Networks:
        def predict(self, x: Any, lq: Any, timestep: int, guide: Any, scale: float) -> torch.Tensor:
            downs, middle = (None, None)
            inputs = torch.cat([x, lq], 1)
            if guide is not None:
                downs, middle = model.network(inputs, timestep, model.text, guide, return_dict=False)
            options = {"down_block_additional_residuals": downs, "mid_block_additional_residual": middle}
            asked.append(model.unet(inputs, timestep, model.text, **options).sample)
            return asked[-1]

        def decode(self, latent: torch.Tensor) -> torch.Tensor:
            return model.vae.decode(latent / model.vae.config.scaling_factor).sample

    def flows(target: int, source: int) -> torch.Tensor:
        ends = (given["lq"][:, :, k] for k in (target, source))
        return model.flow(*(torch.nn.functional.interpolate(x, scale_factor=4, mode="bicubic") for x in ends))

    with torch.no_grad():
        sample(
            Networks(), model.scheduler, given["lq"][0].transpose(0, 1), made.noisy, flows, [(t, t - 20)],
            lambda step, frame: torch.zeros(1, 4, 16, 16),
        )  # fmt: skip
    for found, wanted in zip(made.predictions, asked, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.equal(made.guides[1], published_warp(model.decode(made.latents[1]), flows(2, 1)))


def test_the_gradient_goes_through_the_last_frame_alone(recipe: Path) -> None:
    model: Any = build_model(load_recipe(recipe))
    random_tcm(model)
    given = batch(num_frames=4)
    lq = [given["lq"][:, :, k] for k in range(4)]
    gt = [given["gt"][:, :, k] for k in range(4)]
    noise = torch.randn(2, 4, 2, 4, 16, 16)
    made = conditioned_prediction(model, lq, gt, Draws(torch.tensor([7, 800]), noise[0].unbind(), noise[1].unbind()))
    assert made.predictions[-1].requires_grad
    assert not any(value.requires_grad for value in [*made.predictions[:-1], *made.estimates, *made.guides])


def test_the_neighbour_before_or_after_is_drawn_for_each_sample() -> None:
    clip = torch.arange(5.0)[None, None, :, None, None].expand(2, 3, 5, 2, 2)
    taken = chain_frames(clip, [True, False], 2)
    assert [[int(frame[b, 0, 0, 0]) for frame in taken] for b in (0, 1)] == [[0, 1, 2], [4, 3, 2]]
    with pytest.raises(DataError, match="chain of 5 frames"):
        chain_frames(clip, [True, True], 5)


def test_other_predictions_have_other_targets(recipe: Path) -> None:
    model: Any = build_model(load_recipe(recipe))
    clean, noise, t = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.tensor([300])
    for kind in ("v_prediction", "epsilon", "sample"):
        config = dataclasses.replace(model.scheduler.config, prediction_type=kind, clip_sample=False)
        other = dataclasses.replace(model, scheduler=DDPM(config))
        target = other.target(clean, noise, t)
        noisy = other.schedule.add_noise(clean, noise, t)
        torch.testing.assert_close(other.clean(target, noisy, t), clean, atol=1e-4, rtol=0)
        torch.testing.assert_close(other.clean(target, noisy, t), other.scheduler.clean(target, noisy, 300))
        assert (kind == "epsilon") == torch.equal(target, noise)


def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(load_recipe(recipe), whole).run()
    first = Trainer(load_recipe(recipe), parts)
    first.log = lambda values: stop_at(first, 2, values)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    path = latest_checkpoint(parts)
    assert path is not None and path.name in ("step-00000001.pt", "step-00000002.pt")
    Trainer(load_recipe(recipe), parts).run()
    a, b = (load_checkpoint(folder / "step-00000003.pt") for folder in (whole, parts))
    assert a["network"].keys() == b["network"].keys()
    for part in ("network", "average"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    assert not torch.equal(a["network"]["conv_in.weight"], a["average"]["conv_in.weight"])
    weights = [
        (f / "step-00000003/controlnet/diffusion_pytorch_model.safetensors").read_bytes() for f in (whole, parts)
    ]
    assert weights[0] == weights[1]
    assert sorted(p.name for p in whole.glob("step-*")) == sorted(
        f"step-0000000{n}{suffix}" for n in (2, 3) for suffix in ("", ".pt")
    )


def stop_at(trainer: Trainer, step: int, values: dict[str, Any]) -> None:
    if values.get("step") == step and "prediction" in values:
        raise KeyboardInterrupt


def test_another_unet_is_refused_when_a_run_goes_on(recipe: Path, tmp_path: Path, models: Path) -> None:
    own = copy_folder(models, tmp_path / "own")
    text = recipe.read_text().replace(str(models), str(own))
    recipe.write_text(text)
    Trainer(load_recipe(recipe, ["stage.0.steps=1"]), tmp_path / "run").run()
    path = own / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    with pytest.raises(DataError, match="another UNet than the run began with"):
        Trainer(load_recipe(recipe, ["stage.0.steps=1"]), tmp_path / "run")
    with pytest.raises(DataError, match="another UNet"):
        export(tmp_path / "run")


def test_from_a_recipe_to_a_folder_that_upscale_and_diffusers_open(
    recipe: Path, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusers import ControlNetModel

    run = tmp_path / "run"
    assert main(["train", str(recipe), "-o", str(run)]) == 0
    folder = run / "stablevsr"
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    average = load_checkpoint(run / "step-00000003.pt")["average"]
    for place in (folder, run / "step-00000003"):
        opened = ControlNetModel.from_pretrained(place, subfolder="controlnet", low_cpu_mem_usage=False)
        assert all(torch.equal(value, average[name]) for name, value in opened.state_dict().items())
    assert opened.config.conditioning_embedding_out_channels == [8, 12, 16]
    card = (run / "stablevsr.md").read_text()
    assert "--model stablevsr --weights stablevsr" in card and "values in float32" in card
    frames = moving(32)
    made, before = (upscaled(frames, path, tmp_path, steps=2) for path in (folder, models))
    assert made.shape == (3, 128, 128, 3) and not np.array_equal(made, before)
    assert main(["export", str(run), "-o", str(tmp_path / "again"), "--raw"]) == 0
    raw = load_file(tmp_path / "again" / "controlnet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(raw["conv_in.weight"], load_checkpoint(run / "step-00000003.pt")["network"]["conv_in.weight"])
    with pytest.raises(OptionError, match="is written as a model folder"):
        export(run, tmp_path / "x.safetensors")


def test_begins_with_a_released_tcm_or_with_that_of_another_run(recipe: Path, models: Path, tmp_path: Path) -> None:
    released = load_file(models / "controlnet" / "diffusion_pytorch_model.safetensors")
    plain = recipe.read_text().replace("network = { conditioning_channels = [8, 12, 16] }", "")
    recipe.write_text(plain)
    for override in ("init=stablevsr", f"init={models}", f"init={models / 'controlnet'}"):
        model = build_model(load_recipe(recipe, [override]))
        assert all(torch.equal(value, released[name]) for name, value in model.network.state_dict().items())
        assert all(parameter.requires_grad for parameter in model.network.parameters())
    model = build_model(load_recipe(recipe), start_from=models / "controlnet")
    assert torch.equal(model.network.state_dict()["conv_in.weight"], released["conv_in.weight"])
    with pytest.raises(WeightsError, match="no TCM in"):
        build_model(load_recipe(recipe, [f"init={tmp_path}"]))
    config = models / "controlnet" / "config.json"
    other = copy_folder(models / "controlnet", tmp_path / "other")
    (other / "config.json").write_text(json.dumps({**json.loads(config.read_text()), "layers_per_block": 1}))
    with pytest.raises(WeightsError):
        build_model(load_recipe(recipe, [f"init={other}"]))


def test_training_opens_the_folders_that_inference_opens(recipe: Path, models: Path, tmp_path: Path) -> None:
    """Old names of tensors and tensors that nothing reads are taken; damage is told with the file's name."""
    folder = copy_folder(models, tmp_path / "StableVSR")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for today, before in names.items():
        tensors = {name.replace(f".{today}.", f".{before}."): tensor for name, tensor in tensors.items()}
    save_file(tensors, path)
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(unet), "class_embedding.weight": torch.zeros(2, 2)}, unet)
    model, plain = (build_model(load_recipe(recipe, [f"models={place}"])) for place in (folder, models))
    for part in ("vae", "unet"):
        wanted = getattr(plain, part).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in getattr(model, part).state_dict().items())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="vae"):
        build_model(load_recipe(recipe, [f"models={folder}"]))


def test_a_tcm_that_trains_shares_nothing_with_its_file(recipe: Path, models: Path) -> None:
    plain = recipe.read_text().replace("network = { conditioning_channels = [8, 12, 16] }", "")
    recipe.write_text(plain)
    first, again = (build_model(load_recipe(recipe, ["init=stablevsr"])) for _ in range(2))
    with torch.no_grad():
        first.network.conv_in.weight.add_(1)
    released = load_file(models / "controlnet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(again.network.conv_in.weight, released["conv_in.weight"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage.0.objective=velocity", "temporal-conditioning"),
        ("stage.0.objective=regression", "temporal-conditioning"),
        ("stage.0.guidance.chain=3", "guidance.chain = 3 does not fit into samples of 3 frames"),
        ("stage.0.guidance.chain=0", "guidance.chain = 0"),
        ("stage.0.guidance.flow=farneback", "must be one of 'raft', 'dis'"),
        ("run.parallel=fsdp", 'run.parallel = "data"'),
        ("network.conditioning_channels=[8, 12]", "three numbers"),
        ("network.width=3", "unknown recipe key network.width"),
        ("models=/nowhere", "there is no folder /nowhere"),
        ("data.leave_out=['007']", "no pair 007 to leave out"),
        ("data.leave_out=['000', '001']", "leaves no pair"),
    ],
)
def test_bad_recipes_are_refused(recipe: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises((DataError, WeightsError), match=message.replace("[", r"\[")):
        Trainer(load_recipe(recipe, [override, "stage.0.steps=1"]), tmp_path / "run").run()


def test_samples_are_windows_that_are_turned_left_and_right_alone(recipe: Path, tmp_path: Path, reds: Path) -> None:
    trainer = Trainer(load_recipe(recipe), tmp_path / "run")
    stream = trainer._stream()
    names = [path for path in sorted((reds / "train_sharp_bicubic/X4/001").iterdir())]
    frames = np.stack([np.asarray(Image.open(path)) for path in names]).astype(np.float32) / 127.5 - 1
    turned = set()
    for _ in range(12):
        sample_, found = stream.take(), []
        lq = sample_["lq"].permute(1, 2, 3, 0).numpy()
        for flip in (False, True):
            part = lq[:, :, ::-1] if flip else lq
            for t in range(2):
                for top in range(24 - 16 + 1):
                    for left in range(30 - 16 + 1):
                        if np.abs(frames[t : t + 3, top : top + 16, left : left + 16] - part).max() < 1e-5:
                            found.append(flip)
        assert len(found) == 1 and sample_["name"].endswith("(001)")
        turned.update(found)
    assert turned == {False, True}


def test_validation_samples_as_upscale_does(recipe: Path, models: Path, tmp_path: Path) -> None:
    model: Any = build_model(load_recipe(recipe, ["network={}", "init=stablevsr"]))
    frames = moving(36)
    made = from_unit(model.restore(to_unit(frames, 8)[None], 2, seed=1)[0], 8)
    assert np.abs(upscaled(frames, models, tmp_path, steps=2, seed=1).astype(int) - made).max() <= 1


def test_a_run_validates_its_average(recipe: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    (tmp_path / "val" / "gt").mkdir(parents=True)
    (tmp_path / "val" / "lq").mkdir()
    write_lossless(tmp_path / "val" / "gt" / "a.mkv", pictures.repeat(4, 1).repeat(4, 2))
    write_lossless(tmp_path / "val" / "lq" / "a.mkv", pictures)
    overrides = [f"data.validation_videos={tmp_path / 'val'}", "run.validation_steps=1", "run.validate_every=1"]
    overrides.append("run.validation_samples=1")
    Trainer(load_recipe(recipe, [*overrides, "stage.0.steps=1"]), tmp_path / "run").run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (found,) = [line for line in lines if line["event" if "event" in line else "step"] == "validation"]
    assert 2 < found["psnr"] < found["psnr_bicubic"] and -1 < found["ssim"] < 1


def moving(width: int) -> np.ndarray:
    """Three frames of one shot."""
    noise = np.random.default_rng(5).integers(0, 255, (8, 12, 3), np.uint8)
    wide = np.asarray(Image.fromarray(noise).resize((48, 32), Image.Resampling.BICUBIC))
    return np.stack([wide[:, t : t + width] for t in range(3)])


def upscaled(frames: np.ndarray, weights: Path, folder: Path, **options: Any) -> np.ndarray:
    write_lossless(folder / "in.mkv", frames)
    starvsr.upscale(
        folder / "in.mkv", folder / "out.mkv", model="stablevsr", weights=weights, flow="dis", codec="ffv1",
        overwrite=True, pixel_format="bgr0", **options,
    )  # fmt: skip
    return read_clip(folder / "out.mkv")


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_plan_counts_what_autograd_keeps(recipe: Path, recomputed: bool) -> None:
    word = "true" if recomputed else "false"
    config = load_recipe(recipe, [f"run.activation_checkpointing={word}"])
    (plan,) = plan_recipe(config, 1)
    model: Any = build_model(config)
    assert plan.trained == sum(p.numel() for p in model.network.parameters())
    assert plan.parameters == plan.trained + sum(p.numel() for p in model.unet.parameters())
    assert plan.fixed == 4 * sum(p.numel() for p in model.vae.parameters())
    assert plan.clips == 2 and "activations of 2 clips" in plan.table(80)
    if recomputed:
        assert plan.activations < 0.6 * plan_recipe(load_recipe(recipe), 1)[0].activations
        return
    network = torch.nn.ModuleList([model.network, model.unet])
    with saved_bytes(network) as kept:
        loss_of(model, batch())
    counted, measured = plan.activations, sum(kept.values())
    assert 0.85 < counted / measured < 1.15


def test_the_command_tells_the_plan_and_trains_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(recipe), "-o", str(tmp_path / "run"), "--plan", "--device-gib", "24"]) == 0
    told = capsys.readouterr().out
    assert "activations of 2 clips" in told and "GiB" in told
    assert not (tmp_path / "run").exists()


def test_the_published_recipe_is_planned_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    root = Path(__file__).parents[2] / "recipes"
    (plan,) = plan_recipe(load_recipe(root / "stablevsr.toml"), 4)
    assert plan.trained == 207_699_264 and plan.parameters == 207_699_264 + 472_374_020
    assert plan.optimizer == 8 * plan.trained  # not shared between the processes
    config = load_recipe(root / "stablevsr-tiny.toml")
    assert config.stage[0].objective == "temporal-conditioning"
