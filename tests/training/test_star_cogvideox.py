"""Training of STAR on CogVideoX at tiny size: what it begins with, what moves, what stays, and the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from starvsr.apps.cli import main
from starvsr.data.pool import Batch
from starvsr.errors import DataError, OptionError, WeightsError
from starvsr.families.registry import get_spec
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.folder import files_of, load_transformer
from starvsr.models.weights import build_empty, read_tensors
from starvsr.offload.trace import saved_bytes
from starvsr.training.checkpoints import load_checkpoint
from starvsr.training.config import StageConfig
from starvsr.training.families import build_model
from starvsr.training.families.star_cogvideox import PARTS
from starvsr.training.families.star_cogvideox_memory import decoding_bytes
from starvsr.training.freezing import choose_trained
from starvsr.training.loop import Trainer
from starvsr.training.memory import plan_recipe
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import load_recipe, make_stage
from starvsr.training.run import export
from starvsr.training.star_cogvideox import TrainedCogVideoX, TrainedSizes
from starvsr.video.codec_pass import read_clip, write_lossless
from tests.support.bfloat16 import needs_bfloat16
from tests.training.both_ranks import BothRanks
from tests.training.same import same
from tests.training.tiny import forked, write_photo

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from tests.support.cogvideox_stock import SIZES, VAE, write_stock

MODEL = "star-cogvideox-5b"
RECIPE = """
model = "{model}"
init = "{stock}"
seed = 3
network = {{ {sizes}, lora_rank = 4 }}

[data]
photos = "{photos}"
cache = "{cache}"
degradation = "light"
num_frames = 5
lq_crop = 4
clip_frames = 5
gt_size = 64
pool_size = 2
crops_per_clip = 3
batch = 1
workers = 0
caption_dropout = 0.3

[run]
optimizer = "adamw"
weight_decay = 0.0
activation_checkpointing = true
log_every = 1
save_every = 1
ema = 0.9

[[stage]]
objective = "star-lora"
steps = 1
warmup = 0
lr = 1e-3
schedule = "constant"

[stage.losses]
frequency = 0.0

[stage.velocity]
decode_slice = 8
"""
CAPTION = "a cat walks over green grass"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock") / "CogVideoX-5b")


@pytest.fixture(scope="module")
def small_stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock") / "CogVideoX-2b", rotary=False)


@pytest.fixture(autouse=True)
def _own_weights_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def write_recipe(folder: Path, stock: Path, model: str = MODEL) -> Path:
    photos = write_photo(folder / "photos")
    (photos / "a.txt").write_text(CAPTION + "\n")
    sizes = ", ".join(f"{name} = {value}" for name, value in SIZES.items())
    path = folder / "tiny.toml"
    path.write_text(
        RECIPE.format(model=model, stock=stock, sizes=sizes, photos=photos, cache=folder / "cache"), encoding="utf-8"
    )
    return path


@pytest.fixture
def recipe(tmp_path: Path, stock: Path) -> Path:
    return write_recipe(tmp_path, stock)


def trains(name: str) -> bool:
    last = ("norm_final.", "norm_out.", "proj_out.", "patch_embed.proj.")
    inner = name.removeprefix("transformer.")
    return "lora_" in inner or "_local." in inner or inner.startswith(last)


def batch(side: int = 4, num_frames: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    gt = torch.rand(1, 3, num_frames, 4 * side, 4 * side, generator=generator) * 2 - 1
    lq = torch.nn.functional.avg_pool3d(gt, (1, 4, 4))
    return Batch(lq=lq, gt=gt, caption=[CAPTION], name=["a"])


def with_random_lora(made: Any) -> Any:
    """A network whose LoRA is not the fresh one, which changes nothing and whose first half has no gradient."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=generator)
    return made


def inputs(channels: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy, hint = (torch.randn(1, channels, 2, 4, 6, generator=generator) for _ in range(2))
    return noisy, torch.tensor([400]), hint, torch.randn(1, 226, SIZES["text_embed_dim"], generator=generator)


@pytest.mark.parametrize("is_5b", [True, False], ids=["5b", "2b"])
def test_a_plain_cogvideox_begins_as_it_is(is_5b: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Without the new gates the network is the library's, whatever the low-quality latents are."""
    from diffusers import CogVideoXTransformer3DModel

    stock = request.getfixturevalue("stock" if is_5b else "small_stock")
    made: Any = build_model(load_recipe(write_recipe(tmp_path, stock, MODEL if is_5b else "star-cogvideox-2b")))
    assert len(made.start.new) == 2 * 2 + 2 * 4 * 2 and made.start.path == stock
    for block in made.network.transformer.transformer_blocks:
        block.spa_local.forward = lambda tokens, grid: tokens
        block.temp_local.forward = lambda tokens: tokens
    library = CogVideoXTransformer3DModel.from_pretrained(stock, subfolder="transformer")
    library.norm_out.norm.eps = 1e-6
    noisy, t, hint, text = inputs()
    rotary = None
    if is_5b:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        rotary = get_3d_rotary_pos_embed(SIZES["attention_head_dim"], ((0, 0), (2, 3)), (2, 3), 2)
    else:  # the library's table has one size only, so it is made for this one
        library.patch_embed.sample_height, library.patch_embed.sample_width = 4, 6
        library.patch_embed.sample_frames = 5
        table = library.patch_embed._get_positional_embeddings(4, 6, 5)
        library.patch_embed.pos_embedding = table
    with torch.no_grad():
        wanted = library(noisy.transpose(1, 2), text, t, image_rotary_emb=rotary).sample.transpose(1, 2)
        for seen in (hint, 100 * hint):
            torch.testing.assert_close(made.network(noisy, t, seen, text), wanted, atol=1e-4, rtol=1e-4)


def test_a_step_moves_what_the_release_trains_and_nothing_else(recipe: Path, tmp_path: Path, stock: Path) -> None:
    released = {name: value.clone() for name, value in read_tensors(stock / "transformer").items()}
    trainer = Trainer(load_recipe(recipe), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    with torch.no_grad():  # a fresh LoRA has no gradient in its first half
        for name, parameter in trainer.network.named_parameters():
            if "lora_B" in name:
                before[name] = parameter.normal_(std=0.1).clone()
    trainer.run()
    moved = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if trains(name)}
    for name, value in released.items():
        if name != "patch_embed.proj.weight" and not trains(name):
            assert torch.equal(trainer.network.state_dict()[f"transformer.{name}"], value)
    assert torch.equal(before["transformer.patch_embed.proj.weight"][:, :16], released["patch_embed.proj.weight"])
    assert not before["transformer.patch_embed.proj.weight"][:, 16:].any()
    again = read_tensors(stock / "transformer")
    assert all(torch.equal(value, again[name]) for name, value in released.items())
    stored = load_checkpoint(tmp_path / "run/step-00000001.pt")
    assert stored["network"].keys() == stored["average"].keys() == moved
    (first, *_) = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert (first["from"], first["new_tensors"]) == ("CogVideoX-5b", 20)


def test_the_published_sizes_train_what_the_release_trains() -> None:
    for config, values, tensors in (
        (TransformerConfig.published_5b(), 532_243_624, 430),
        (TransformerConfig.published_2b(), None, 2 + 8 + 10 * 30),
    ):
        network = build_empty(lambda config=config: TrainedCogVideoX(TrainedSizes.of(config)))
        names = choose_trained(network, PARTS, StageConfig("star-lora", 1))
        sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
        assert len(names) == tensors and values in (None, sum(sizes[name] for name in names))
        assert set(names) == {name for name in sizes if trains(name)}


def gradients(made: Any, *terms: str, **tables: Any) -> dict[str, Tensor]:
    made.network.zero_grad()
    chosen = make_stage("star-lora", 1, **{"velocity": {"decode_slice": 8}, **tables})
    choose_trained(made.network, made.parts, chosen)
    # one piece and the start of the next: gradients go through what the decoder carries over
    given = batch(num_frames=13)
    found = OBJECTIVES["star-lora"].compute(made, given, chosen.tables, {}, torch.Generator().manual_seed(2)).losses
    sum(found[term] for term in terms).backward()  # type: ignore[union-attr]
    return {n: p.grad.clone() for n, p in made.network.named_parameters() if p.grad is not None}


def test_the_frequency_loss_trains_through_the_decoder(recipe: Path) -> None:
    made = with_random_lora(build_model(load_recipe(recipe, ["data.num_frames=13", "data.clip_frames=13"])))
    found = gradients(made, "df")
    assert found.keys() == {name for name in made.network.state_dict() if trains(name)}
    assert all(bool(value.any()) for value in found.values())
    assert all(parameter.grad is None for parameter in made.codec.vae.parameters())
    with pytest.raises(RuntimeError, match="does not require grad"):  # the released fault: shown, and trains nothing
        gradients(made, "df", frequency={"gradient": False})
    made.codec.vae.disable_gradient_checkpointing()
    made.network.transformer.gradient_checkpointing = False
    kept = gradients(made, "df", velocity={"decode_slice": 0})
    for name, value in found.items():
        torch.testing.assert_close(value, kept[name], atol=1e-6, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


def test_decoding_with_gradient_is_the_librarys(recipe: Path) -> None:
    made: Any = build_model(load_recipe(recipe))
    latents = torch.randn(2, 16, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = made.codec.vae.decode(latents / VAE["scaling_factor"], return_dict=False)[0]
        without = made.decode(latents)
    clip = latents.requires_grad_()
    for pieces in (0, 8):
        torch.testing.assert_close(made.decode(clip, pieces), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(without, wanted, atol=1e-5, rtol=1e-4)


def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_recipe(recipe, ["stage.0.steps=3", "run.accumulate=2", "stage.0.losses.frequency=1.0"])
    Trainer(config, tmp_path / "undisturbed").run()
    killed = Trainer(config, tmp_path / "killed")
    take = killed._take_step
    monkeypatch.setattr(
        killed, "_take_step", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()) if killed.step == 2 else take(*a)
    )
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    Trainer(config, tmp_path / "killed").run()
    a, b = (load_checkpoint(tmp_path / name / "step-00000003.pt") for name in ("undisturbed", "killed"))
    assert same(a, b) and not same(a["network"], a["average"]) and a["start"]["digest"]


def test_two_processes_with_split_weights_train_as_one(recipe: Path, tmp_path: Path) -> None:
    forked("pair", recipe, tmp_path / "split", "run.parallel=fsdp")
    BothRanks(load_recipe(recipe, ["run.accumulate=2"]), tmp_path / "alone").run()
    split, alone = (load_checkpoint(tmp_path / name / "step-00000001.pt") for name in ("split", "alone"))
    assert split["network"].keys() == alone["network"].keys()
    begun = build_model(load_recipe(recipe)).network.state_dict()
    moved = torch.cat([(value - begun[name]).flatten() for name, value in alone["network"].items()])
    apart = torch.cat([(value - split["network"][name]).flatten() for name, value in alone["network"].items()])
    assert moved.norm() > 0 and apart.norm() < 1e-2 * moved.norm()
    assert (tmp_path / "split" / MODEL / "transformer" / "config.json").is_file()


@needs_bfloat16
def test_what_stays_is_held_once_in_the_runs_type(recipe: Path, tmp_path: Path) -> None:
    words = ["run.precision=bf16", "run.codec_precision=bf16", "stage.0.losses.frequency=1.0"]
    trainer = Trainer(load_recipe(recipe, words), tmp_path / "run")
    for name, parameter in trainer.network.named_parameters():
        halved = not trains(name) and parameter.ndim > 1
        assert parameter.dtype == (torch.bfloat16 if halved else torch.float32), name
        assert parameter.requires_grad == trains(name) == (name in trainer.average.tensors), name
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (step,) = [line for line in lines if "lr" in line]
    assert 0 < step["velocity"] < 10 and 0 < step["df"] < 10


def test_captions_are_read_once_and_zeros_stand_for_one_that_is_left_out(
    recipe: Path, tmp_path: Path, stock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import T5EncoderModel, T5Tokenizer

    from starvsr.training import caption_features

    loaded: list[int] = []
    load = caption_features.load_text_encoder
    monkeypatch.setattr(caption_features, "load_text_encoder", lambda files: loaded.append(1) or load(files))
    for dropout, seen in ((0.0, CAPTION), (1.0, None)):
        words = [f"data.caption_dropout={dropout}", "stage.0.steps=2"]
        trainer = Trainer(load_recipe(recipe, words), tmp_path / f"run{dropout}")
        asked: list[Any] = []
        texts = trainer.model.texts  # type: ignore[attr-defined]
        trainer.model.texts = lambda captions, t=texts, a=asked: a.extend(captions) or t(captions)  # type: ignore[attr-defined]
        trainer.run()
        assert asked == [seen, seen]
    assert len(loaded) == 1  # once for both runs and all captions
    made: Any = build_model(load_recipe(recipe))
    features = made.texts([CAPTION, "", None])
    tokenizer = T5Tokenizer.from_pretrained(stock / "tokenizer")
    encoder = T5EncoderModel.from_pretrained(stock / "text_encoder")
    for index, text in enumerate((CAPTION, "")):
        ids = tokenizer(text, padding="max_length", max_length=226, return_tensors="pt").input_ids
        with torch.no_grad():
            torch.testing.assert_close(features[index], encoder(ids)[0][0])
    assert not features[2].any() and len(loaded) == 1
    for file in (tmp_path / "cache" / "captions").iterdir():
        file.write_bytes(b"damaged")
    made = build_model(load_recipe(recipe))
    assert torch.equal(made.texts([CAPTION]), features[:1]) and len(loaded) == 2
    (tmp_path / "photos" / "a.txt").write_text("cat " * 300)
    with pytest.raises(DataError, match=r"226 tokens.*a\.png \(\d+\)"):
        Trainer(load_recipe(recipe), tmp_path / "long").run()


def test_exports_go_on_top_of_cogvideox_or_alone(
    recipe: Path, tmp_path: Path, stock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clip = tmp_path / "run", tmp_path / "clip.mkv"
    assert main(["train", str(recipe), "-o", str(run), "--override=stage.0.lr=0.05"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder == run / MODEL and (folder / "text_encoder" / "model.safetensors").is_file()
    card = (run / f"{MODEL}.md").read_text()
    assert f"--model {MODEL} --weights {MODEL}" in card and "Started from CogVideoX-5b" in card
    assert main(["export", str(run), "--lora"]) == 0
    lora = run / "lora.safetensors"
    own = read_tensors(lora)
    assert own and all(trains(name) for name in own)

    state = load_checkpoint(run / "step-00000001.pt")
    made: Any = build_model(load_recipe(recipe))
    made.network.load_state_dict({**made.network.state_dict(), **state["average"]})
    merged = load_transformer(files_of(folder))
    noisy, t, hint, text = inputs()
    with torch.no_grad():
        unmerged = made.network(noisy, t, hint, text)
        found = merged(torch.cat([noisy, hint], 1).transpose(1, 2), t.float(), text).transpose(1, 2)
    torch.testing.assert_close(found, unmerged, atol=2e-5, rtol=1e-4)

    beside = tmp_path / "beside"
    shutil.copytree(stock, beside)
    shutil.copy(lora, beside / "star_lora.safetensors")
    assert main(["models", "convert", str(beside), "-o", str(tmp_path / "converted")]) == 0
    write_lossless(clip, np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), np.uint8))
    results = []
    for name, weights in (("merged", folder), ("beside", beside), ("converted", tmp_path / "converted")):
        words = ["upscale", str(clip), "-o", str(tmp_path / f"{name}.mkv"), "--model", MODEL, "--steps", "2", "-q"]
        assert main([*words, "--weights", str(weights), "--device", "cpu"]) == 0, capsys.readouterr().err
        results.append(read_clip(tmp_path / f"{name}.mkv"))
    assert results[0].shape == (3, 16, 24, 3) and results[0].std() > 1
    assert np.array_equal(*results[:2]) and np.array_equal(*results[1:])


def test_a_lora_alone_finds_the_cogvideox_that_was_fetched(
    tmp_path: Path, small_stock: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "star-cogvideox-2b"
    monkeypatch.setenv("STARVSR_MODELS", str(small_stock))
    recipe = write_recipe(tmp_path, Path("cogvideox-2b-transformer"), model)
    Trainer(load_recipe(recipe), tmp_path / "run").run()
    lora = export(tmp_path / "run", lora=True)
    spec = get_spec(model, StarCogVideoXSpec)
    files = spec.files_in(lora)
    assert files == {"transformer": small_stock / "transformer", "lora": lora}
    assert get_spec(MODEL, StarCogVideoXSpec).files_in(lora) == {}
    whole = load_transformer(files_of(export(tmp_path / "run")))
    on_top = load_transformer(files)
    assert all(torch.equal(value, on_top.state_dict()[name]) for name, value in whole.state_dict().items())
    # a run may begin with it, and has all it knew
    made: Any = build_model(load_recipe(recipe, [f"init={lora}"]))
    for name, value in whole.state_dict().items():
        found = made.network.get_parameter(f"transformer.{name}")
        torch.testing.assert_close(found, value, msg=lambda text, n=name: f"{n}: {text}")
    other = write_stock(tmp_path / "other", rotary=False, time_embed_dim=16)
    monkeypatch.setenv("STARVSR_MODELS", str(other))
    with pytest.raises(WeightsError, match="was trained on cogvideox-2b-transformer with SHA-256"):
        load_transformer(spec.files_in(lora))
    monkeypatch.delenv("STARVSR_MODELS")
    assert main(["upscale", "clip.mkv", "--model", model, "--weights", str(lora)]) == 1
    with pytest.raises(WeightsError, match="starvsr models fetch cogvideox-2b-transformer"):
        spec.files_in(lora)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("data.num_frames=4", DataError, "set num_frames to 1 or 5"),
        ("stage.0.velocity.decode_slice=3", DataError, "8 frames at a time"),
        ("data.dropped_caption=negative", DataError, "zeros stand for a caption"),
        ("network.lora_rank=-1", DataError, "must be at least 0"),
        ("network.lora_rank=0", DataError, "trains lora, and network.lora_rank is 0"),
        ("network.lora_size=2", DataError, "unknown recipe key network.lora_size"),
        ("network.num_layers=0", DataError, "num_layers is 0, which must be positive"),
        ("network.attention_head_dim=24", DataError, "multiple of 16"),
        ("network.num_attention_heads=4", WeightsError, "num_attention_heads 2, not 4"),
        ("model=star-cogvideox-2b", WeightsError, "use_rotary_positional_embeddings True, not False"),
        ("stage.0.objective=star", DataError, 'is trained by objective = "star-lora" or "velocity"'),
        ("stage.0.trains=liem,patch", DataError, "no stage trains lora"),
        ("stage.0.trains=lora,liem", DataError, "no stage trains patch"),
        ("stage.0.trains=control", OptionError, "unknown part 'control'"),
        ("init=star-cogvideox-5b", WeightsError, "starvsr models fetch star-cogvideox-5b-transformer"),
        ("init=cogvideox-5b-transformer", WeightsError, "starvsr models fetch cogvideox-5b-transformer"),
        ("init=nowhere", WeightsError, "no weights at nowhere"),
        ("models=nowhere", WeightsError, "there is no folder nowhere"),
    ],
)
def test_bad_recipes_are_refused(recipe: Path, override: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_model(load_recipe(recipe, [override]))


def test_other_starts_are_refused(recipe: Path, tmp_path: Path, stock: Path) -> None:
    for changes, message in (
        ({"in_channels": 32}, "videos from text alone"),
        ({"patch_size_t": 2}, "patch_size_t is 2"),
    ):
        other = tmp_path / "other"
        shutil.copytree(stock, other)
        settings = json.loads((other / "transformer/config.json").read_text())
        (other / "transformer/config.json").write_text(json.dumps({**settings, **changes}))
        with pytest.raises(WeightsError, match=message):
            build_model(load_recipe(recipe, [f"init={other}"]))
        shutil.rmtree(other)
    with pytest.raises(DataError, match="no such folder of captions"):
        Trainer(load_recipe(recipe, ["data.captions=nowhere"]), tmp_path / "run").run()
    with pytest.raises(DataError, match="--lora, which is for star-cogvideox-5b, star-cogvideox-2b"):
        plain = tmp_path / "plain.toml"
        plain.write_text(recipe.read_text().replace("star-lora", "velocity"))
        _export_other(tmp_path)


def _export_other(folder: Path) -> None:
    """A checkpoint of a model without LoRA."""
    from starvsr.training.recipe import recipe_tree

    run = folder / "small"
    run.mkdir()
    config = load_recipe(Path(__file__).parents[2] / "recipes/star-small.toml")
    torch.save({"config": json.dumps(recipe_tree(config)), "step": 1}, run / "step-00000001.pt")
    export(run, lora=True)


def test_a_run_goes_on_with_the_network_that_it_began_with(recipe: Path, tmp_path: Path, stock: Path) -> None:
    run, own = tmp_path / "run", tmp_path / "own"
    shutil.copytree(stock, own)
    words = [f"init={own}"]
    Trainer(load_recipe(recipe, words), run).run()
    longer = [*words, "stage.0.steps=2"]
    with pytest.raises(DataError, match=r"network.lora_rank: 4 -> 8"):
        Trainer(load_recipe(recipe, [*longer, "network.lora_rank=8"]), run)
    with pytest.raises(DataError, match=r"another network.*lora_A.weight is \[4, 32\], not \[8, 32\]"):
        Trainer(load_recipe(recipe, [*longer, "network.lora_rank=8"]), run, allow_changes=True)
    shutil.rmtree(own)
    write_stock(own, time_embed_dim=12).joinpath("transformer")
    path = own / "transformer" / "diffusion_pytorch_model.safetensors"
    from safetensors.torch import save_file

    changed = {name: value + 1 for name, value in read_tensors(path).items()}
    save_file(changed, path)
    with pytest.raises(DataError, match="not what the run began with"):
        Trainer(load_recipe(recipe, longer), run)
    shutil.rmtree(own)
    with pytest.raises(WeightsError, match="no weights at"):
        export(run)


def test_a_validation_sample_is_what_upscale_makes(recipe: Path, tmp_path: Path, stock: Path) -> None:
    from starvsr.families.star_cogvideox import load

    Trainer(load_recipe(recipe, ["stage.0.lr=0.05"]), tmp_path / "run").run()
    folder = export(tmp_path / "run")
    made: Any = build_model(load_recipe(recipe, [f"init={folder}"]))
    pipeline = load.load(get_spec(MODEL, StarCogVideoXSpec), weights=folder).pipeline()
    drawn = pipeline._noise

    def without_posterior(shape: tuple[int, ...], *others: Any) -> Any:
        source = drawn(shape, *others)
        return lambda purpose: torch.zeros(shape) if purpose == "vae" else source(purpose)

    pipeline._noise = without_posterior  # type: ignore[method-assign]
    lq = batch()["lq"]
    wanted = torch.stack(list(pipeline.upscale_frames(lq, slice(None), seed=0, num_steps=3)), 1)[None]
    with torch.inference_mode():
        found = made.restore(lq, 3)
    torch.testing.assert_close(found.clamp(-1, 1), wanted, atol=1e-4, rtol=1e-3)


def test_everything_can_train_without_lora(recipe: Path, tmp_path: Path) -> None:
    words = ["network.lora_rank=0", "stage.0.trains=all", "stage.0.objective=velocity", "init="]
    stock = load_recipe(recipe).init
    Trainer(load_recipe(recipe, [*words, f"models={stock}"]), tmp_path / "run").run()
    whole = load_transformer(files_of(export(tmp_path / "run")))
    assert not any("lora" in name for name in whole.state_dict())
    with pytest.raises(DataError, match="no LoRA beside a frozen CogVideoX"):
        export(tmp_path / "run", lora=True)


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_plan_counts_what_autograd_keeps(recipe: Path, recomputed: bool) -> None:
    config = load_recipe(recipe, ["data.lq_crop=8", f"run.activation_checkpointing={str(recomputed).lower()}"])
    made = with_random_lora(build_model(config))
    choose_trained(made.network, made.parts, config.stage[0])
    (plan,) = plan_recipe(config, 1)
    sizes = {name: parameter.numel() for name, parameter in made.network.named_parameters()}
    trained = sum(count for name, count in sizes.items() if trains(name))
    assert (plan.parameters, plan.trained) == (sum(sizes.values()), trained)
    assert plan.optimizer == 8 * trained and plan.fixed == 4 * sum(p.numel() for p in made.codec.vae.parameters())
    if recomputed:
        return
    latents = torch.randn(1, 16, 2, 4, 4)
    with saved_bytes(made.network) as kept:
        made.network(latents, torch.tensor([3]), latents, torch.zeros(1, 226, SIZES["text_embed_dim"]))
    assert plan.activations == pytest.approx(sum(kept.values()), rel=0.1)  # attention here keeps what it computed
    clip = torch.randn(1, 16, 2, 4, 4, requires_grad=True)
    with saved_bytes(made.codec.vae) as kept:
        made.decode(clip)
    counted = decoding_bytes(VAE, 2, (4, 4), recompute_pieces=False, recompute_blocks=False, in_bfloat16=False)
    assert counted == pytest.approx(sum(kept.values()), rel=0.02)


@pytest.mark.parametrize("size", ["5b", "2b"])
def test_the_published_recipes_are_planned_without_weights(size: str) -> None:
    """Two blocks stand for all: they are alike. The 5B with LoRA has as many values as the released checkpoint."""
    path = Path(__file__).parents[2] / "recipes" / f"star-cogvideox-{size}.toml"
    config = load_recipe(path)
    assert (config.data.lq_width, config.data.lq_crop, config.data.num_frames) == (180, 120, 25)
    (plan,) = plan_recipe(load_recipe(path, ["network.num_layers=2"]), 8)
    if size == "5b":
        assert plan.parameters + 40 * max(plan.blocks.values()) == 6_099_162_792 - 64 * 3072
    assert 1 << 29 < plan.activations < 4 << 30 and 10 << 30 < plan.decoding < 40 << 30
    recomputing_nothing = ["network.num_layers=2", "stage.0.velocity.decode_slice=0"]
    assert plan_recipe(load_recipe(path, recomputing_nothing), 8)[0].decoding > 1.5 * plan.decoding
