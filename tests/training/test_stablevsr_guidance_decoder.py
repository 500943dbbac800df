"""Training of StableVSR's small decoder for the guidance: what it learns, resuming, the way to `upscale`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from starvsr.apps.cli import main
from starvsr.data.pool import Batch
from starvsr.errors import DataError, StarVsrError, WeightsError
from starvsr.families.registry import get_entry
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.offload.trace import saved_bytes
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.families import build_model
from starvsr.training.loop import Trainer
from starvsr.training.memory import plan_recipe
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.guidance_decoder import gradient_error
from starvsr.training.recipe import load_recipe, make_stage
from starvsr.training.run import export
from tests.support.stablevsr_folder import copy_folder, write_folder
from tests.support.stablevsr_guidance_decoder import write_decoder
from tests.support.stablevsr_training import random_batch, write_reds

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("cv2")

TENSORS = "diffusion_pytorch_model.safetensors"
RECIPE = """
model = "stablevsr"
models = "{models}"
network = {{ width = 8, num_blocks = 1, up_width = 8, thin_width = 4 }}
seed = 4

[data]
pairs = "{pairs}"
cache = "{cache}"
num_frames = 1
lq_crop = 16
clip_frames = 1
gt_size = 64
pool_size = 1
crops_per_clip = 1
batch = 2
workers = 0

[run]
ema = 0.5
log_every = 1
save_every = 1

[[stage]]
objective = "guidance-decoder"
steps = 3
lr = 1e-3
warmup = 0
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "StableVSR")


@pytest.fixture(scope="module")
def reds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two frames in the layout of REDS."""
    return write_reds(tmp_path_factory.mktemp("reds"), ["000"], 2)


@pytest.fixture
def recipe(tmp_path: Path, models: Path, reds: Path) -> Path:
    path = tmp_path / "decoder.toml"
    path.write_text(RECIPE.format(models=models, pairs=reds, cache=tmp_path / "cache"))
    return path


def batch(num_frames: int = 1, count: int = 2) -> Batch:
    return random_batch(num_frames, count)


def losses_of(model: Any, given: Batch, seed: int = 3, **losses: float) -> dict[str, torch.Tensor]:
    tables = make_stage("guidance-decoder", 1, losses=losses).tables
    rng = torch.Generator().manual_seed(seed)
    return dict(OBJECTIVES["guidance-decoder"].compute(model, given, tables, {}, rng).losses)


def test_a_step_compares_both_decoders_on_what_the_unet_makes_of_noisy_latents(recipe: Path) -> None:
    """The losses, computed here by hand from the schedule's formulas."""
    model: Any = build_model(load_recipe(recipe))
    given = batch(num_frames=2, count=1)
    rng = torch.Generator().manual_seed(3)
    t = torch.randint(0, 1000, (2,), generator=rng)
    posterior, noise = torch.randn((2, 2, 4, 16, 16), generator=rng)
    abar = model.scheduler.alphas_cumprod[t].float().view(2, 1, 1, 1)
    errors, edges = [], []
    for frame in range(2):
        gt, lq = (given[name][:, :, frame] for name in ("gt", "lq"))  # type: ignore[literal-required]
        encoded = model.vae.encode(gt).latent_dist
        latents = (encoded.mean + encoded.std * posterior[frame]) * model.vae.config.scaling_factor
        noisy = abar[frame].sqrt() * latents + (1 - abar[frame]).sqrt() * noise[frame]
        v = model.unet(torch.cat([noisy, lq], 1), t[frame], model.text).sample
        clean = abar[frame].sqrt() * noisy - (1 - abar[frame]).sqrt() * v
        difference = model.network(clean) - model.vae.decode(clean / model.vae.config.scaling_factor).sample
        errors.append(difference.abs().mean())
        edges.append((difference[..., 1:] - difference[..., :-1]).abs().mean())
        edges[-1] = edges[-1] + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    found = losses_of(model, given, pixel=2.0, gradient=0.5)
    torch.testing.assert_close(found["pixel"], sum(errors), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["gradient"], sum(edges) / 4, rtol=1e-3, atol=1e-5)
    assert list(losses_of(model, given, gradient=0)) == ["pixel"]
    assert list(losses_of(model, given, pixel=0)) == ["gradient"]


def test_edges_count_beside_pixels() -> None:
    flat, edge = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    edge[..., 2:] = 1
    assert float(gradient_error(flat + 1, flat)) == 0
    assert float(gradient_error(edge, flat)) == pytest.approx(1 / 3) == float(gradient_error(edge.mT, flat))


def test_only_the_decoder_moves(recipe: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_recipe(recipe, ["stage.0.steps=1"]), tmp_path / "run")
    model: Any = trainer.model
    parts = {"unet": model.unet, "vae": model.vae, "decoder": model.network}
    before = {f"{part}.{n}": v.clone() for part, net in parts.items() for n, v in net.state_dict().items()}
    trainer.run()
    after = {f"{part}.{n}": v for part, net in parts.items() for n, v in net.state_dict().items()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("decoder.") for name in moved)


def test_it_learns_what_the_frozen_decoder_does(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that can be learned in seconds stands in for the frozen one: channels, enlarged."""
    model: Any = build_model(load_recipe(recipe))
    kind, generator = type(model), torch.Generator().manual_seed(0)
    monkeypatch.setattr(kind, "estimates", lambda *_: torch.randn(4, 4, 8, 8, generator=generator))
    enlarge = torch.nn.functional.interpolate
    monkeypatch.setattr(kind, "decode", lambda self, latents: enlarge(latents[:, :3], scale_factor=4.0))
    optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-2)
    found = []
    for _ in range(100):
        losses = losses_of(model, batch())
        loss = losses["pixel"] + losses["gradient"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert sum(found[-5:]) < 0.5 * sum(found[:5])


def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(load_recipe(recipe), whole).run()
    first = Trainer(load_recipe(recipe), parts)

    def stop(values: dict[str, Any]) -> None:
        if values.get("step") == 2 and "pixel" in values:
            raise KeyboardInterrupt

    first.log = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    path = latest_checkpoint(parts)
    assert path is not None and path.name in ("step-00000001.pt", "step-00000002.pt")
    Trainer(load_recipe(recipe), parts).run()
    a, b = (load_checkpoint(folder / "step-00000003.pt") for folder in (whole, parts))
    for part in ("network", "average"):
        assert a[part].keys() == b[part].keys() and all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    readable = [(folder / "step-00000003" / "guidance_decoder" / TENSORS).read_bytes() for folder in (whole, parts)]
    assert readable[0] == readable[1]


@pytest.mark.parametrize("part", ["vae", "unet"])
def test_another_upscaler_is_refused_when_a_run_goes_on(recipe: Path, tmp_path: Path, models: Path, part: str) -> None:
    own = copy_folder(models, tmp_path / "own")
    recipe.write_text(recipe.read_text().replace(str(models), str(own)))
    config = load_recipe(recipe, ["stage.0.steps=1"])
    Trainer(config, tmp_path / "run").run()
    path = own / part / TENSORS
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    for attempt in (lambda: Trainer(config, tmp_path / "run"), lambda: export(tmp_path / "run")):
        with pytest.raises(DataError, match="is another one than the run began with"):
            attempt()


def test_from_a_recipe_to_a_folder_that_upscale_opens(
    recipe: Path, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", str(recipe), "-o", str(run)]) == 0
    folder = run / "guidance_decoder"
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    average = load_checkpoint(run / "step-00000003.pt")["average"]
    latent = torch.randn(1, 4, 8, 8)
    for place in (folder, run, run / "step-00000003"):
        model: Any = get_entry("stablevsr").load(weights=models, flow="dis", guidance_decoder=place)
        assert all(torch.equal(value, average[name]) for name, value in model._loaded.guide.state_dict().items())
        assert model._loaded.guide(latent).shape == (1, 3, 32, 32)
    card = (run / "guidance_decoder.md").read_text()
    assert "--model stablevsr --guidance-decoder guidance_decoder" in card and "(autoencoder)" in card
    kept = copy_folder(models, tmp_path / "whole")
    assert main(["export", str(run), "-o", str(kept), "--raw"]) == 0
    assert (kept / "unet" / TENSORS).is_file()  # the rest of the model folder is untouched
    raw = load_file(kept / "guidance_decoder" / TENSORS)
    assert torch.equal(raw["first.weight"], load_checkpoint(run / "step-00000003.pt")["network"]["first.weight"])
    other = write_folder(tmp_path / "other")
    path = other / "vae" / TENSORS
    save_file({name: value * 1.5 for name, value in load_file(path).items()}, path)
    with pytest.raises(WeightsError, match="trained beside another autoencoder"):
        get_entry("stablevsr").load(weights=other, flow="dis", guidance_decoder=folder)


def test_begins_with_the_decoder_of_another_run(recipe: Path, models: Path, tmp_path: Path) -> None:
    begun = load_file(write_decoder(tmp_path / "begun", models) / "guidance_decoder" / TENSORS)
    with pytest.raises(DataError, match="recipe section network is for a fresh decoder"):
        build_model(load_recipe(recipe, [f"init={tmp_path / 'begun'}"]))
    plain = load_recipe(recipe, ["network={}"])
    for model in (
        build_model(load_recipe(recipe, ["network={}", f"init={tmp_path / 'begun'}"])),
        build_model(plain, start_from=tmp_path / "begun" / "guidance_decoder"),
    ):
        assert all(torch.equal(value, begun[name]) for name, value in model.network.state_dict().items())
        assert all(parameter.requires_grad for parameter in model.network.parameters()) and model.network.training
    with pytest.raises(WeightsError, match="no decoder for the guidance in"):
        build_model(plain, start_from=tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage.0.objective=velocity", '"temporal-conditioning" or "guidance-decoder", each alone'),
        ("stage.0.losses={pixel=0, gradient=0}", "leaves nothing to learn from"),
        ("stage.0.losses.frequency=1", "losses.frequency is for the objective"),
        ("init=stablevsr", "is published without a small decoder"),
        ("run.parallel=fsdp", 'run.parallel = "data"'),
        ("network.width=0", "width of a decoder for guidance must be a whole number from 1"),
        ("network.latent_channels=8", "latent_channels is the autoencoder's"),
        ("network.conditioning_channels=[8]", "unknown recipe key network.conditioning_channels"),
        ("models=/nowhere", "there is no folder /nowhere"),
    ],
)
def test_bad_recipes_are_refused(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(StarVsrError, match=message.replace("[", r"\[")):
        build_model(load_recipe(recipe, [override]))


@pytest.mark.parametrize("first", ["guidance-decoder", "temporal-conditioning"])
def test_a_recipe_trains_one_part(recipe: Path, first: str) -> None:
    (second,) = {"guidance-decoder", "temporal-conditioning"} - {first}
    text = recipe.read_text().replace('"guidance-decoder"', f'"{first}"')
    recipe.write_text(text + f'\n[[stage]]\nobjective = "{second}"\nsteps = 1\n')
    with pytest.raises(DataError, match=rf"stage\.1\.objective = '{second}' trains another part of stablevsr"):
        build_model(load_recipe(recipe))


def test_validation_decodes_single_frames_by_it(recipe: Path) -> None:
    model: Any = build_model(load_recipe(recipe))
    lq = torch.rand(1, 3, 2, 16, 20) * 2 - 1
    made = model.restore(lq, 1, seed=1)
    assert made.shape == (1, 3, 2, 64, 80) and float(made.abs().max()) <= 1
    alone = model.restore(lq[:, :, :1], 1, seed=1)
    assert torch.allclose(made[:, :, 0], alone[:, :, 0], atol=1e-5)  # no neighbour is asked
    with torch.no_grad():
        model.network.last.bias.add_(0.1)
    assert not torch.allclose(model.restore(lq, 1, seed=1), made)


def test_the_plan_counts_what_autograd_keeps(recipe: Path) -> None:
    config = load_recipe(recipe)
    (plan,) = plan_recipe(config, 1)
    model: Any = build_model(config)
    assert plan.trained == sum(p.numel() for p in model.network.parameters())
    assert plan.parameters == plan.trained + sum(p.numel() for p in model.unet.parameters())
    assert plan.fixed == 4 * sum(p.numel() for p in model.vae.parameters())
    with saved_bytes(model.network) as kept:
        losses_of(model, batch(), gradient=0)
    assert 0.7 < plan.activations / sum(kept.values()) < 1.1  # the loss keeps a picture, too


def test_the_recipes_are_planned_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    root = Path(__file__).parents[2] / "recipes"
    (plan,) = plan_recipe(load_recipe(root / "stablevsr-guidance-decoder.toml"), 4)
    assert plan.trained == sum(parameter.numel() for parameter in GuidanceDecoder().parameters()) < 1_000_000
    assert plan.parameters == plan.trained + 472_374_020
    config = load_recipe(root / "stablevsr-guidance-decoder-tiny.toml")
    assert config.stage[0].objective == "guidance-decoder"
    assert json.loads(json.dumps(config.network))["width"] == 16
