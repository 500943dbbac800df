"""Checks of what surrounds the network in the published STAR: text path, temporal autoencoder, the whole way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.diffusion.posterior import split_moments
from starvsr.families.star_i2vgen.pipeline import StarI2VGenPipeline
from starvsr.families.star_i2vgen.reference import ReferenceQuirks, Source
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling
from starvsr.imaging.color import adain
from starvsr.imaging.frames import to_byte_range
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig, tower_weights
from starvsr.models.text.clip_tokenizer import Tokenizer
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.padding import Padding
from starvsr.video.pixels import from_unit, to_unit
from tests.parity.checks import check
from tests.parity.golden import CannotCheck, Case, fill, filled
from tests.parity.star_networks import FAMILY, build_unet, is_network

MERGES = Path(__file__).parent / "data" / "clip_merges.txt.gz"


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.read(MERGES)


@check(FAMILY, lambda case: is_network("text")(case) and "OpenCLIP" in case.what)
def check_text(case: Case) -> None:
    absolute = case.tolerance("abs")
    config = case.meta["config"]
    # OpenCLIP's names and all of its blocks go in; the mapping must drop exactly what the file says is unused
    weights = {name: fill(case.prefix() + name, tuple(shape), case.salt) for name, shape in _parameters(case)}
    sizes = TextTowerConfig(
        config["width"], config["heads"], config["layers"] - 1, config["context_length"], config["vocab_size"]
    )
    tower = TextTower(sizes).eval()
    mapped = tower_weights(weights, sizes)
    unused = [name for name in weights if name not in mapped]
    stated = case.meta.get("parameters_not_used", [])
    case.exact("parameters_not_used", [n for n in unused if not any(_matches(n, pattern) for pattern in stated)], [])
    tower.load_state_dict(mapped)
    for name, text in case.meta["texts"].items():
        ids = torch.tensor(tokenizer().context_ids(text))
        case.compare(f"tokens.{name}", ids)
        with torch.no_grad():
            case.compare(f"context.{name}", tower(ids[None])[0], absolute=absolute)


def _parameters(case: Case) -> list[tuple[str, list[int]]]:
    return [(name, shape) for name, shape in case.meta["parameters"].items() if shape]


def _matches(name: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None


def build_vae(case: Case, names: dict[str, Any], prefix: str = "") -> TemporalVae:
    config = TemporalVaeConfig.from_diffusers(names)
    vae = filled(lambda: TemporalVae(config), salt=case.salt, prefix=prefix)
    assert isinstance(vae, TemporalVae)
    return vae


@check(FAMILY, lambda case: is_network("vae")(case) and "AutoencoderKLTemporalDecoder" in case.what)
def check_vae(case: Case) -> None:
    absolute = case.tolerance("abs")
    vae = build_vae(case, case.meta["config"], case.prefix())
    shapes = {name: list(parameter.shape) for name, parameter in vae.named_parameters()}
    case.exact("parameters", shapes, case.meta["parameters"])
    with torch.no_grad():
        mean, logvar = split_moments(vae.moments(case.input("image")))
        case.compare("mean", mean, absolute=absolute)
        case.compare("logvar", logvar, absolute=absolute)
        latents = case.input("z")
        for match in case.names(r"decoded_(\d+)"):
            frames = _group_of(case, int(match.group(1)), latents)
            case.compare(match.group(0), vae.decode(frames), absolute=absolute)
    # with gradients another way through the temporal layers is taken; it must give the same
    first = max(case.names(r"decoded_(\d+)"), key=lambda match: int(match.group(1)))
    decoded = vae.decode(_group_of(case, int(first.group(1)), latents))
    case.compare_to(f"{first.group(0)} (with gradients)", decoded, case.input(first.group(0)), absolute=absolute)


def _group_of(case: Case, num_frames: int, latents: Tensor) -> Tensor:
    """The latents that a stored decode of so many frames took, as the file's words say."""
    words = str(case.meta["meaning"]["decoded_k"])
    for first, last in re.findall(r"(\d+)(?:\.\.(\d+))?", words.split(" with ")[0]):
        stop = int(last or first) + 1
        if stop - int(first) == num_frames:
            return latents[int(first) : stop]
    raise CannotCheck(f"the file does not say which {num_frames} frames were decoded")


class _Recorded(StarI2VGenPipeline):
    """The pipeline with the border and the random draws that a file names."""

    border = Padding()
    draws: Mapping[str, Tensor]

    def padding(self, height: int, width: int) -> Padding:
        return self.border

    def noise(self, shape: tuple[int, ...], levels: Tensor, seed: int, first_frame: int) -> Source:
        named = {
            "vae": self.draws["noise_vae"].transpose(0, 1)[None],
            "start": self.draws["noise_diffuse"],
        }
        return lambda purpose: self.draws["noise_solver"][purpose] if isinstance(purpose, int) else named[purpose]


@check(FAMILY, is_network("pipeline"))
def check_pipeline(case: Case) -> None:
    config = case.meta["config"]
    sampling = Sampling(
        guidance=config["guide_scale"],
        rescale=config["guide_rescale"],
        window=config["max_chunk_len"],
        step_list=config["solver_mode"],
        choices=ReferenceQuirks.of(exact=True),
    )
    codec = TemporalVaeCodec(build_vae(case, config["vae"]), group=config["vae_decode_chunk"], overlap=0)
    contexts = (case.input("y_pos"), case.input("y_neg"))
    pipeline = _Recorded("recorded", build_unet(case, config["unet"]), codec, contexts, sampling)
    pipeline.scale = config["upscale"]
    pipeline.border = Padding(*config["pad_left_right_top_bottom"])
    pipeline.draws = {name: case.input(name) for name in ("noise_vae", "noise_diffuse", "noise_solver")}
    levels = sampling.levels(pipeline.schedule, FAST_STEPS)

    lq = to_unit(case.input("frames_bgr").flip(-1).numpy())[None]
    noise = pipeline.noise((), levels, 0, 0)
    if config.get("chunk_inds"):
        windows, _ = sampling.choices.windows(lq.shape[2], sampling.window)
        case.exact("chunk_inds", [[w.start, w.stop] for w in windows], config["chunk_inds"])
    with torch.no_grad():
        hint = pipeline.encode(lq, pipeline.border, noise)
        case.compare("hint", hint, absolute=case.tolerance("hint_abs"))
        case.compare("noised", pipeline.start(hint, levels, noise), absolute=case.tolerance("hint_abs"))
        latents = pipeline.sample(hint, levels, noise)
        case.compare("latent", latents, absolute=case.tolerance("latent_abs"))
        video = torch.stack(list(pipeline.decode(latents, pipeline.border)), dim=1)[None]
        case.compare("video", video, absolute=case.tolerance("video_abs"))
        in_bytes = to_byte_range(video)[0].permute(1, 2, 3, 0)
        case.compare("tensor2vid", in_bytes, absolute=case.tolerance("tensor2vid_abs"))
        matched = (adain(video.clamp(-1, 1), lq)[0].permute(1, 2, 3, 0) + 1) * 127.5
        case.compare("color_fixed", matched, absolute=case.tolerance("tensor2vid_abs"))
        # and the whole way as a user goes it: frames in, bytes out
        finished = pipeline.upscale_clip(lq, num_steps=FAST_STEPS)
    written = from_unit(finished[0], 8)
    case.compare("written_uint8", torch.from_numpy(written).int(), absolute=1 + case.tolerance("tensor2vid_abs"))
    given = case.input("color_fixed")
    clear = (given - given.round()).abs() > case.tolerance("tensor2vid_abs") / 40
    share = (torch.from_numpy(written) == case.input("written_uint8"))[clear].double().mean()
    case.compare_to("written_uint8 (share of equal bytes)", share, torch.ones((), dtype=torch.double), absolute=1e-3)
