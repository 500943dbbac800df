"""A decoder for StableVSR's guidance with random weights, written without the package's own writer."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

TENSORS = "diffusion_pytorch_model.safetensors"
SIZES = {"width": 8, "num_blocks": 2, "up_width": 8, "num_up_blocks": 1, "thin_width": 4, "latent_channels": 4}


def layers(sizes: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Name of each 3x3 convolution to its channels out and in."""
    width, up, thin = (sizes[name] for name in ("width", "up_width", "thin_width"))
    found = {"first": (width, sizes["latent_channels"]), "up": (4 * up, width), "fine": (4 * thin, up)}
    found["last"] = (3, thin)
    for name, count, channels in (("blocks", "num_blocks", width), ("up_blocks", "num_up_blocks", up)):
        for number in range(sizes[count]):
            found |= {f"{name}.{number}.{layer}": (channels, channels) for layer in ("first", "second")}
    return found


def write_decoder(folder: Path, model: Path, seed: int = 3, **entries: Any) -> Path:
    """Write folder/guidance_decoder for the model folder; ``entries`` replace some of its configuration's."""
    place = folder / "guidance_decoder"
    place.mkdir(parents=True)
    vae = load_file(model / "vae" / TENSORS)
    said = json.loads((model / "vae" / "config.json").read_text())
    reads = b"".join(vae[f"decoder.conv_in.{kind}"].numpy().astype("<f4").tobytes() for kind in ("weight", "bias"))
    signs = "".join(str(byte >> 7) for byte in reads[3::4])  # the highest bit of each number
    packed = bytes(int(signs[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(signs), 8))
    config = {"_class_name": "GuidanceDecoder", **SIZES, "scaling_factor": said["scaling_factor"]}
    size = math.hypot(*struct.unpack(f"<{len(reads) // 4}f", reads))
    config |= {"vae_fingerprint": f"{hashlib.sha256(packed).hexdigest()[:16]}-{size:.6g}", **entries}
    (place / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, into) in layers(SIZES).items():
        tensors[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        tensors[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
    save_file(tensors, place / TENSORS)
    return folder
