"""Train the frozen part of a tiny StableVSR: an autoencoder and a UNet that enlarge single frames by four.

    python recipes/stablevsr_tiny_upscaler.py --videos HQ_VIDEOS --photos HQ_PHOTOS -o runs/stablevsr-tiny-upscaler

writes a model folder of the published layout whose TCM is a copy of the UNet's encoder that adds nothing yet;
`starvsr train recipes/stablevsr-tiny.toml` trains it. The networks are small enough for an hour on one CPU thread: they
show that the method's parts work together, and no picture of theirs is worth looking at. A run cannot be resumed, but
`--keep-vae` goes on from its autoencoder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from starvsr.data.clips import DegradedClips
from starvsr.data.pool import SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.models.weights.save import set_default_mode
from starvsr.training.optimizer import Muon, parameter_groups

SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "variance_type": "fixed_small",
}
LATENTS = 4
VAE: dict[str, Any] = {
    "block_out_channels": (8, 16, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "latent_channels": LATENTS,
    "norm_num_groups": 8,
    "sample_size": 48,
}
UNET: dict[str, Any] = {
    "sample_size": 12,
    "in_channels": 7,
    "out_channels": 4,
    "block_out_channels": (24, 32, 48),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "only_cross_attention": (True, True, False),
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "use_linear_projection": True,
}
TEXT: dict[str, Any] = {
    "vocab_size": 3, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "projection_dim": 16,
}  # fmt: skip
TCM_CHANNELS = (8, 16, 32)
FRAMES, SIDE = 2, 12
"""Of a sample: neighbouring frames (which count as two pictures), and the side of a low-quality crop."""
KL_WEIGHT = 1e-6
KEEP_EVERY = 500
"""Steps after which the folder is written again, should the rest be interrupted."""
VAE_LR, UNET_LR = 4e-3, 3e-3


def main() -> None:
    """Train both networks and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of sharp videos")
    parser.add_argument("--photos", type=Path, help="folder of sharp photos")
    parser.add_argument("--manifest", type=Path, help="CSV with sharp_scale notes")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded frames")
    parser.add_argument("--degradation", default="clean", help="preset of the low-quality frames (default clean)")
    parser.add_argument("--vae-steps", type=int, default=2000)
    parser.add_argument("--unet-steps", type=int, default=2500)
    parser.add_argument("--keep-vae", action="store_true", help="take the autoencoder that is in the folder already")
    parser.add_argument("--batch", type=int, default=4, help=f"samples of {FRAMES} frames in a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    stream = open_stream(options)
    if options.keep_vae:
        vae = AutoencoderKL.from_pretrained(options.output / "vae", low_cpu_mem_usage=False).eval()
        vae.requires_grad_(False)
    else:
        vae = AutoencoderKL(**VAE)
        train_vae(vae, stream.batches(options.batch // 2 or 1), options.vae_steps)
        fit_scaling(vae, stream.batches(options.batch))
        vae.save_pretrained(options.output / "vae")
    unet = UNet2DConditionModel(**UNET)
    text = CLIPTextModel(CLIPTextConfig(**TEXT)).eval()
    for average in train_unet(unet, vae, text, stream.batches(options.batch), options.unet_steps):
        write_folder(options.output, vae, average, text)
    print(f"wrote {options.output}")


def open_stream(options: argparse.Namespace) -> SampleStream:
    """Open the samples, made in this process."""
    source = SharpSource(options.videos, options.photos, options.cache, manifest=options.manifest)
    source.prepare()
    clips = DegradedClips(source, options.degradation, clip_frames=FRAMES, gt_size=96, seed=options.seed)
    return SampleStream(clips, num_frames=FRAMES, lq_crop=SIDE, pool_size=32, crops_per_clip=32, seed=options.seed)


def pictures(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the frames of a batch one by one: low-quality and sharp ones."""
    return batch["lq"].transpose(1, 2).flatten(0, 1), batch["gt"].transpose(1, 2).flatten(0, 1)


def train_vae(vae: Any, batches: Iterator[Any], num_steps: int) -> None:
    """Train to give pictures back, with a little weight on a normal posterior."""
    with torch.no_grad():  # begin with a narrow posterior: its noise would drown what the decoder learns from
        vae.quant_conv.weight[LATENTS:] = 0
        vae.quant_conv.bias[LATENTS:] = -6
    optimizer = Muon(parameter_groups(vae), lr=VAE_LR)
    tally = Tally("autoencoder", num_steps)
    for step in range(num_steps):
        set_rate(optimizer, VAE_LR, step, num_steps)
        _, gt = pictures(next(batches))
        posterior = vae.encode(gt).latent_dist
        made = vae.decode(posterior.sample()).sample
        loss = F.l1_loss(made, gt) + KL_WEIGHT * posterior.kl().mean()
        step_with(optimizer, loss)
        tally.add(step, F.mse_loss(made.detach(), gt).item())
    vae.requires_grad_(False).eval()


@torch.no_grad()
def fit_scaling(vae: Any, batches: Iterator[Any], num_batches: int = 16) -> None:
    """Set the scaling factor so that latents have a standard deviation of 1."""
    latents = torch.cat([vae.encode(pictures(next(batches))[1]).latent_dist.mean for _ in range(num_batches)])
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    print(f"scaling factor {vae.config.scaling_factor}, means {latents.mean((0, 2, 3)).tolist()}")


def train_unet(unet: Any, vae: Any, text: Any, batches: Iterator[Any], num_steps: int) -> Iterator[Any]:
    """Train to predict velocities of single frames; yields the averaged network now and then, and at the end."""
    abar = DDPM(DDPMConfig.from_json(SCHEDULER)).alphas_cumprod
    schedule = NoiseSchedule(abar.sqrt(), (1 - abar).sqrt())
    context = embedding(text)
    average = torch.optim.swa_utils.AveragedModel(unet, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    optimizer = Muon(parameter_groups(unet), lr=UNET_LR)
    tally = Tally("UNet", num_steps)
    for step in range(num_steps):
        set_rate(optimizer, UNET_LR, step, num_steps)
        lq, gt = pictures(next(batches))
        with torch.no_grad():
            clean = vae.encode(gt).latent_dist.sample() * vae.config.scaling_factor
        t = torch.randint(0, 1000, (len(clean),))
        noise = torch.randn_like(clean)
        noisy = schedule.add_noise(clean, noise, t)
        predicted = unet(torch.cat([noisy, lq], 1), t, context.expand(len(clean), -1, -1)).sample
        loss = F.mse_loss(predicted, schedule.velocity(clean, noise, t))
        step_with(optimizer, loss)
        average.update_parameters(unet)
        tally.add(step, loss.item())
        if (step + 1) % KEEP_EVERY == 0 or step + 1 == num_steps:
            yield average.module


@torch.no_grad()
def embedding(text: Any) -> Tensor:
    """Return the embedding of the empty prompt."""
    ids = torch.tensor([[1, 2, *[0] * 75]])
    result: Tensor = text(ids, return_dict=False)[0]
    return result


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, num_steps: int) -> None:
    """Rise for 100 steps, then fall along a straight line."""
    share = min((step + 1) / 100, (num_steps - step) / max(1, num_steps - 100))
    for group in optimizer.param_groups:
        group["lr"] = peak * min(1.0, share)


def step_with(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


class Tally:
    """Prints the mean of a loss now and then."""

    def __init__(self, name: str, num_steps: int, every: int = 50) -> None:
        self.name, self.num_steps, self.every = name, num_steps, every
        self.values: list[float] = []
        self.began = time.monotonic()

    def add(self, step: int, value: float) -> None:
        """Take the loss of a step."""
        self.values.append(value)
        if (step + 1) % self.every == 0 or step + 1 == self.num_steps:
            mean = sum(self.values) / len(self.values)
            pace = (time.monotonic() - self.began) / (step + 1)
            print(f"{self.name} {step + 1}/{self.num_steps} squared error {mean:.5f} {pace:.3f} s/step", flush=True)
            self.values.clear()


def write_folder(folder: Path, vae: Any, unet: Any, text: Any) -> None:
    """Write all parts as the published folder has them."""
    tcm = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=TCM_CHANNELS)
    for module, name in ((unet, "unet"), (tcm, "controlnet"), (vae, "vae"), (text, "text_encoder")):
        module.save_pretrained(folder / name)
        for tensors in (folder / name).glob("*.safetensors"):
            set_default_mode(tensors)
        for note in (folder / name).glob("*.sha256"):  # of the files that were there
            note.unlink()
    tokens = {"vocab.json": {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokens["special_tokens_map.json"] = {**special, "pad_token": "!"}
    tokens["tokenizer_config.json"] = {**tokens["special_tokens_map.json"], "tokenizer_class": "CLIPTokenizer"}
    tokens["tokenizer_config.json"]["model_max_length"] = 77
    (folder / "tokenizer").mkdir(exist_ok=True)
    for name, content in tokens.items():
        (folder / "tokenizer" / name).write_text(json.dumps(content, indent=2) + "\n")
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2) + "\n")
    classes = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "controlnet": "ControlNetModel"}
    index = {"_class_name": "StableVSRPipeline", **{name: ["diffusers", kind] for name, kind in classes.items()}}
    index["scheduler"] = ["diffusers", "DDPMScheduler"]
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
