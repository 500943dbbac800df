"""Training the published STAR at tiny size: what starts it, what moves, what stays, and the way out to `upscale`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from starvsr.apps.cli import main
from starvsr.data.pool import Batch
from starvsr.errors import DataError, WeightsError
from starvsr.families import registry
from starvsr.families.star_i2vgen import load as loading_published
from starvsr.families.star_i2vgen.prompts import NEGATIVE_PROMPT
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import build_empty, read_tensors
from starvsr.training.checkpoints import load_checkpoint
from starvsr.training.config import StageConfig
from starvsr.training.families import build_model
from starvsr.training.families.star import STAR_PARTS
from starvsr.training.families.star_i2vgen_parts import CaptionedStar
from starvsr.training.freezing import choose_trained
from starvsr.training.loop import Trainer
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import load_recipe, make_stage
from starvsr.training.run import export
from starvsr.training.validation import validate
from starvsr.video.codec_pass import read_clip, write_lossless
from tests.support.bfloat16 import needs_bfloat16
from tests.training.both_ranks import BothRanks
from tests.training.same import same
from tests.training.tiny import TOWER, forked, published_entries, write_published, write_published_recipe

ONE = ("stage.0.steps=1",)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "star-light", published_entries())
    monkeypatch.setattr(loading_published, "TEXT_TOWER", TOWER)
    monkeypatch.delenv("STARVSR_MODELS", raising=False)


@pytest.fixture
def recipe(tmp_path: Path, models: Path) -> Path:
    return write_published_recipe(tmp_path, models)


def trains(name: str) -> bool:
    return "VideoControlNet." in name or ".local" in name


def parts_of(trainer: Trainer) -> dict[str, torch.nn.Module]:
    model: Any = trainer.model
    return {"network": trainer.network, "vae": model.codec.vae, "text": model.reader.tower}


def copies(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {f"{p}/{n}": v.clone() for p, module in parts_of(trainer).items() for n, v in module.state_dict().items()}


def batch(num_frames: int = 2, caption: str = "a cloud") -> Batch:
    generator = torch.Generator().manual_seed(1)
    gt = torch.nn.functional.interpolate(
        torch.rand(1, 3, num_frames, 14, 14, generator=generator), (num_frames, 56, 56)
    )
    return Batch(lq=torch.nn.functional.avg_pool3d(gt, (1, 4, 4)), gt=gt, caption=[caption], name=["a"])


def gradients(made: Any, *terms: str, **frequency: Any) -> dict[str, torch.Tensor]:
    made.network.zero_grad()
    made.network.train()
    chosen = make_stage("star", 1, velocity={"decode_slice": 1}, frequency=frequency)
    choose_trained(made.network, made.parts, chosen)
    torch.manual_seed(0)  # dropout
    found = OBJECTIVES["star"].compute(made, batch(), chosen.tables, {}, torch.Generator().manual_seed(2)).losses
    sum(found[term] for term in terms).backward()  # type: ignore[union-attr]
    return {n: p.grad.clone() for n, p in made.network.named_parameters() if p.grad is not None}


def test_one_step_moves_control_and_liem_and_nothing_else(recipe: Path, tmp_path: Path, models: Path) -> None:
    trainer = Trainer(load_recipe(recipe, [*ONE, "run.weight_decay=0.0"]), tmp_path / "run")
    before, (start, new) = copies(trainer), (trainer.model.start, trainer.model.start.new)  # type: ignore[union-attr]
    released = read_tensors(models / "venhancer_v2.pt")
    shared = [name for name in released if f"network/unet.{name}" in before]
    assert len(released) - len(shared) == 6 and start is not None and start.path == models / "venhancer_v2.pt"
    assert all(torch.equal(before[f"network/unet.{name}"], released[name]) for name in shared)
    assert set(new) == {n.removeprefix("network/unet.") for n in before if ".local" in n}
    trainer.run()
    moved = {name for name, value in copies(trainer).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("network/") and trains(name)}
    again = read_tensors(models / "venhancer_v2.pt")
    assert all(torch.equal(value, again[name]) for name, value in released.items())
    (first, *_) = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert (first["from"], first["new_tensors"]) == ("venhancer_v2.pt", len(new))


def test_the_published_size_trains_what_the_paper_trains() -> None:
    network = build_empty(lambda: CaptionedStar(StarUNetConfig()))
    names = choose_trained(network, STAR_PARTS, StageConfig("star", 1))
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    assert sum(sizes[name] for name in names) == 629_888_050
    assert sum(".local" in name for name in names) == 73


def test_the_frequency_loss_trains_through_the_decoder(recipe: Path, tmp_path: Path) -> None:
    made: Any = build_model(load_recipe(recipe))
    found = gradients(made, "df")
    assert found.keys() == {name for name in made.network.state_dict() if trains(name)}
    assert all(bool(value.any()) for value in found.values())
    assert all(parameter.grad is None for parameter in made.codec.vae.parameters())
    with pytest.raises(RuntimeError, match="does not require grad"):  # the released fault: shown, and trains nothing
        gradients(made, "df", gradient=False)
    made.codec.vae.decoder.activation_checkpointing = False
    kept = gradients(made, "df")
    for name, value in found.items():
        torch.testing.assert_close(value, kept[name], msg=lambda text, n=name: f"{n}: {text}")
    ends = []
    for weight in (0.0, 1.0):
        trainer = Trainer(load_recipe(recipe, [*ONE, f"stage.0.losses.frequency={weight}"]), tmp_path / str(weight))
        trainer.run()
        ends.append(trainer.network.state_dict())
    assert not torch.equal(*(end["unet.VideoControlNet.input_hint_block.weight"] for end in ends))


def test_an_interrupted_run_ends_bit_for_bit(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_recipe(recipe)
    Trainer(config, tmp_path / "undisturbed").run()
    killed = Trainer(config, tmp_path / "killed")
    take = killed._take_step
    monkeypatch.setattr(
        killed, "_take_step", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()) if killed.step == 2 else take(*a)
    )
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert load_checkpoint(tmp_path / "killed/step-00000002.pt")["step"] == 2
    Trainer(config, tmp_path / "killed").run()
    a, b = (load_checkpoint(tmp_path / name / "step-00000003.pt") for name in ("undisturbed", "killed"))
    assert same(a, b) and a["start"]["word"] == "venhancer"
    assert all(trains(name) for name in a["network"]) and a["average"].keys() == a["network"].keys()
    assert not same(a["network"], a["average"])


def test_another_start_is_refused_when_a_run_goes_on(recipe: Path, tmp_path: Path, models: Path) -> None:
    start = tmp_path / "mine.pt"
    start.write_bytes((models / "light_deg.pt").read_bytes())
    run = tmp_path / "run"
    Trainer(load_recipe(recipe, ONE), run, start_from=start).run()
    assert Trainer(load_recipe(recipe, ONE), run).model.start.path == start  # type: ignore[union-attr]
    other = read_tensors(start)
    torch.save({name: value + 1 for name, value in other.items()}, tmp_path / "other.pt")
    (tmp_path / "other.pt").replace(start)
    for note in tmp_path.glob("mine.pt.sha256"):
        note.unlink()
    with pytest.raises(DataError, match="not the file that the run began with"):
        Trainer(load_recipe(recipe, ONE), run)
    start.unlink()
    with pytest.raises(WeightsError, match="no weights at"):
        export(run, tmp_path / "x.safetensors")


def test_a_new_liem_that_never_trained_is_exported_as_it_was(recipe: Path, tmp_path: Path) -> None:
    """Drawn again from the recipe's seed, which is not 0."""
    config = load_recipe(recipe, [*ONE, "stage.0.trains=control"])
    trainer = Trainer(config, tmp_path / "run")
    begun = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    for given, word in (({"int8": True}, "--int8"), ({"vivid": tmp_path / "v"}, "--vivid")):
        with pytest.raises(DataError, match=f"leave out {word}, which is for star-small"):
            export(tmp_path / "run", tmp_path / "out.safetensors", **given)
    exported = read_tensors(export(tmp_path / "run", tmp_path / "out.safetensors"))
    new = [name for name in exported if ".local1." in name and f"unet.{name}" not in trainer.average.tensors]
    assert config.seed != 0 and new
    for name in new:
        assert torch.equal(exported[name], begun[f"unet.{name}"].half()), name


@needs_bfloat16
def test_from_a_start_to_an_upscaled_clip(
    recipe: Path, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clip = tmp_path / "run", tmp_path / "clip.mkv"
    bf16 = ["--override=run.precision=bf16", "--override=run.codec_precision=bf16", "--override=stage.0.steps=1"]
    assert main(["train", str(recipe), "-o", str(run), *bf16]) == 0
    out = capsys.readouterr().out.splitlines()[-1]
    assert out == str(run / "star-light.safetensors")
    state, released = load_checkpoint(run / "step-00000001.pt"), read_tensors(models / "venhancer_v2.pt")
    with safe_open(out, "pt") as file:
        assert set(file.keys()) == set(StarUNet(published_entries().unet).state_dict())
        for name in file.keys():  # noqa: SIM118 - it is no dictionary
            frozen = not trains(name)
            wanted = released[name] if frozen else state["average"][f"unet.{name}"]
            assert torch.equal(file.get_tensor(name), wanted.half()), name
    card = (run / "star-light.md").read_text()
    assert "--model star-light --weights star-light.safetensors" in card and "Started from venhancer_v2.pt" in card
    write_lossless(clip, np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), np.uint8))
    monkeypatch.setenv("STARVSR_MODELS", str(models))
    made = []
    for name, more in (("trained", ["--weights", out]), ("released", [])):
        words = ["upscale", str(clip), "-o", str(tmp_path / f"{name}.mkv"), "--model", "star-light", "--steps", "2"]
        assert main([*words, *more, "--device", "cpu"]) == 0, capsys.readouterr().err
        made.append(read_clip(tmp_path / f"{name}.mkv"))
    assert made[0].shape == (2, 48, 64, 3) and not np.array_equal(*made)


def test_what_stays_is_held_once_in_the_runs_type(recipe: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_recipe(recipe, [*ONE, "run.precision=bf16"]), tmp_path / "run")
    for name, parameter in trainer.network.named_parameters():
        halved = not trains(name) and parameter.ndim > 1
        assert parameter.dtype == (torch.bfloat16 if halved else torch.float32), name
        assert parameter.requires_grad == trains(name) == (name in trainer.average.tensors), name
    tower = parts_of(trainer)["text"].state_dict()
    assert tower["transformer.resblocks.0.attn.in_proj_weight"].dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for value in parts_of(trainer)["vae"].state_dict().values())
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for name, p in trainer.network.named_parameters() if trains(name)}


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
def test_two_processes_with_split_weights_train_as_one(recipe: Path, tmp_path: Path, precision: str) -> None:
    words = ("network.dropout=0.0", "stage.0.steps=2", f"run.precision={precision}")
    forked("pair", recipe, tmp_path / "split", *words, "run.parallel=fsdp")
    BothRanks(load_recipe(recipe, [*words, "run.accumulate=2"]), tmp_path / "alone").run()
    split, alone = (load_checkpoint(tmp_path / name / "step-00000002.pt") for name in ("split", "alone"))
    begun = build_model(load_recipe(recipe, words)).network.state_dict()
    assert split["network"].keys() == alone["network"].keys()
    moved = torch.cat([(alone["network"][n] - begun[n]).flatten() for n in alone["network"]])
    apart = torch.cat([(alone["network"][n] - split["network"][n]).flatten() for n in alone["network"]])
    assert moved.norm() > 0 and apart.norm() < (1e-2 if precision == "fp32" else 0.2) * moved.norm()
    assert (tmp_path / "split/star-light.safetensors").is_file()


def test_missing_weights_name_the_commands_that_get_them(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    words = ["train", str(recipe), "-o", str(tmp_path / "run"), f"--override=models={tmp_path / 'empty'}"]
    assert main(words) == 1
    said = capsys.readouterr().err
    for name in ("svd-vae", "sd2-text", "venhancer"):
        assert f"starvsr models fetch {name}" in said
    assert main([*words, "--override=init=nowhere.pt"]) == 1
    assert "no weights at nowhere.pt" in capsys.readouterr().err
    with pytest.raises(DataError, match="init and models are for models with published weights"):
        build_model(load_recipe(recipe, ["model=star-small"]))


def test_a_caption_reaches_the_text_tower_and_a_dropped_one_is_the_empty_text(recipe: Path, tmp_path: Path) -> None:
    made: Any = build_model(load_recipe(recipe))
    reader: Any = made.reader
    seen: list[torch.Tensor] = []
    reader.tower.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = reader(["a cloud", "", "a cloud", "another"])
    assert len(seen) == 3 and features.shape == (4, 77, 16)  # the same caption is read once
    assert torch.equal(features[0], features[2]) and not torch.equal(features[0], features[1])
    empty = reader.tower(torch.tensor([reader.tokenizer.context_ids("")]))[0]
    assert torch.equal(features[1], empty)
    built: Any = build_model(load_recipe(recipe, ["data.dropped_caption=negative"]))
    instead = built.reader
    assert torch.equal(instead([""]), instead([NEGATIVE_PROMPT])) and not torch.equal(instead([""])[0], empty)
    losses = {}
    for dropout in (0.0, 1.0):
        trainer = Trainer(load_recipe(recipe, [*ONE, f"data.caption_dropout={dropout}"]), tmp_path / str(dropout))
        trainer.run()
        read = list(trainer.model.reader._read)  # type: ignore[union-attr]
        assert read == (["a grey cloud of noise"] if dropout == 0 else [""])
        lines = [json.loads(line) for line in (tmp_path / str(dropout) / "log.jsonl").read_text().splitlines()]
        losses[dropout] = next(line["velocity"] for line in lines if "lr" in line)
    assert losses[0.0] != losses[1.0]


def test_the_hint_is_what_the_pipeline_encodes(recipe: Path, models: Path) -> None:
    """Enlarged, bordered and encoded alike; a draw from the posterior changes it."""
    made: Any = build_model(load_recipe(recipe))
    pipeline = loading_published.load(published_entries(), files=_files(models)).pipeline()
    lq = batch()["lq"]
    padding = pipeline.padding(4 * lq.shape[-2], 4 * lq.shape[-1])
    assert padding
    rng = torch.Generator().manual_seed(0)
    shape = pipeline._latent_shape(lq, padding)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = pipeline.encode(lq, padding, lambda _: noise)
    torch.testing.assert_close(made.encode_lq(lq, rng), wanted)
    assert not torch.allclose(made.encode_lq(lq), wanted)
    assert made.decode_like(wanted.clone(), batch()["gt"]).shape == batch()["gt"].shape


def test_a_validation_sample_is_what_the_pipeline_makes(
    recipe: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = build_model(load_recipe(recipe, ["init=star-light"]))
    made.network.eval()
    pipeline = loading_published.load(published_entries(), files=_files(models)).pipeline()
    lq, drawn = batch()["lq"] * 2 - 1, pipeline.noise

    def without_posterior(shape: tuple[int, ...], *others: Any) -> Any:
        source = drawn(shape, *others)
        return lambda purpose: torch.zeros(shape) if purpose == "vae" else source(purpose)

    monkeypatch.setattr(pipeline, "noise", without_posterior)
    wanted = pipeline.upscale_clip(lq, seed=0, num_steps=2)
    with torch.inference_mode():
        found = made.restore(lq, 2)
        values = validate(made, [{"lq": lq[0], "gt": found[0], "caption": "", "name": "a"}], (), num_steps=2)
    torch.testing.assert_close(found.clamp(-1, 1), wanted, atol=1e-4, rtol=1e-3)
    assert made.validation_steps == 14 and values["psnr"] > values["psnr_bicubic"]


def _files(models: Path) -> Any:
    from starvsr.models.weights.cache import Places
    from starvsr.models.weights.locate import find_model

    return find_model(published_entries(), places=Places(models))
