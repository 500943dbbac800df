"""Measure what the repairs of the published STAR's pipeline repair; each is switched by a flag of `starvsr upscale`.

    python -m benchmarks.published.star_repairs [--out results/star_repairs]

Padding and rounding are arithmetic. Window joins and decode groups are measured on still latents through small networks
with random weights of fixed seed: whatever changes from frame to frame then comes from the cut alone. The sizes of such
changes with the published weights are other ones; which choice makes them, and their period, are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from starvsr.diffusion.denoiser import Denoise, from_velocity, in_windows
from starvsr.diffusion.schedules import star_schedule
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import GROUP, OVERLAP, RELEASED_GROUP, TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.windows import Blend, Window

Network = TypeVar("Network", bound=nn.Module)
SIZES = ((320, 180), (426, 240), (640, 360), (336, 196))
UNET = StarUNetConfig(width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,))
VAE = TemporalVaeConfig(channels=(32, 64, 64, 64))
WINDOW, CLIP = 32, 72
STILL_FRAMES, INNER = 36, slice(6, 30)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/star_repairs"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    told: dict[str, dict[str, Any]] = {
        "padding": {f"{width}x{height}": padded_share(width, height) for width, height in SIZES},
        "window_join": {choice: window_joins(choice) for choice in ("released", "blend")},
        "decode_groups": {
            "released": pulse(RELEASED_GROUP, 0),
            "overlap": pulse(GROUP, OVERLAP),
        },
        "rounding": rounding_bias(),
    }
    print("--padding: pixels computed for each pixel wanted")
    for size, shares in told["padding"].items():
        print(f"  {size} x4: released {shares['released']:.2f}, minimal {shares['minimal']:.2f}")
    print("--window-join: largest change between neighbouring frames of a still clip, in its standard deviations")
    for choice, values in told["window_join"].items():
        print(f"  {choice}: {values['change']:.4f}, {values['frames']} frames computed for {CLIP}")
    print("--decode-groups: the same, and its part with a period of 3 frames")
    for choice, values in told["decode_groups"].items():
        print(f"  {choice}: {values['change']:.3f}, {values['period_3']:.4f}")
    print(f"--rounding: mean error in levels: released {told['rounding']['released']:+.2f}, nearest "
          f"{told['rounding']['nearest']:+.2f}")  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "star_repairs.json").write_text(json.dumps(told, indent=1) + "\n")


def padded_share(width: int, height: int) -> dict[str, float]:
    """Return padded over wanted pixels of a clip enlarged four times."""
    shares = {}
    for name, choices in (("released", ReferenceQuirks.of(exact=True)), ("minimal", ReferenceQuirks())):
        rows, columns = choices.pad(4 * height, 4 * width, 8).padded_size(4 * height, 4 * width)
        shares[name] = rows * columns / (16 * width * height)
    return shares


def window_joins(choice: str, blend: Blend | None = None) -> dict[str, float]:
    """Return the largest change from frame to frame in one clean estimate of a still clip, and the frames computed.

    Args:
        choice: Of `--window-join`.
        blend: In place of the choice's own way of joining its windows.
    """
    network = randomized(StarUNet(UNET))
    generator = torch.Generator().manual_seed(1)
    still, hint = torch.randn(2, 1, 4, 1, 2, 8, generator=generator)
    context = torch.randn(1, 4, UNET.context_dim, generator=generator)
    schedule = star_schedule()
    done: dict[int, Tensor] = {}  # all windows of a length see the same

    def denoise_for(window: Window) -> Denoise:
        control = hint.expand(-1, -1, window.length, -1, -1)
        denoise = from_velocity(lambda x, t: network(x, t, context, control), schedule)

        def once(x: Tensor, level: float) -> Tensor:
            if window.length not in done:
                done[window.length] = denoise(x, level)
            return done[window.length]

        return once

    windows, own = ReferenceQuirks.of(exact=False, window_join=choice).windows(CLIP, WINDOW)
    with torch.inference_mode():
        estimate = in_windows(denoise_for, windows, blend=blend or own)(still.expand(-1, -1, CLIP, -1, -1), 1.0)
    changes = estimate.diff(dim=2).square().mean((0, 1, 3, 4)).sqrt()
    inner = changes[WINDOW // 2 : -WINDOW // 2]  # the ends of the clip have no neighbours to lean on
    return {"change": float(inner.max() / estimate.std()), "frames": sum(window.length for window in windows)}


def pulse(group: int, overlap: int) -> dict[str, float]:
    """Return what the groups add to a still clip decoded as a whole: change from frame to frame, part of period 3."""
    vae = randomized(TemporalVae(VAE))
    still = torch.randn(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(2)).expand(-1, -1, STILL_FRAMES, -1, -1)

    def decoded(frames: int, shared: int) -> Tensor:
        with torch.inference_mode():
            return TemporalVaeCodec(vae, group=frames, overlap=shared).decode(still)

    whole = decoded(STILL_FRAMES, 0)
    added = (decoded(group, overlap) - whole)[0, :, INNER]
    power = torch.fft.rfft(added, dim=1).abs().square().mean((0, 2, 3))
    count = added.shape[1]
    return {
        "change": float(added.diff(dim=1).square().mean().sqrt() / whole.std()),
        "period_3": float((2 * power[count // 3]).sqrt() / count / whole.std()),
    }


def rounding_bias() -> dict[str, float]:
    """Return the mean error in levels of evenly spread values."""
    values = torch.rand(1_000_000, generator=torch.Generator().manual_seed(3)) * 255
    return {"released": float((values.floor() - values).mean()), "nearest": float((values.round() - values).mean())}


def randomized(network: Network) -> Network:
    """Give a network random weights of unit gain, the same each time; what starts at zero too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(generator=generator)
            if parameter.ndim > 1:
                parameter.mul_(parameter[0].numel() ** -0.5)
            else:
                parameter.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
    return network.eval()


if __name__ == "__main__":
    main()
