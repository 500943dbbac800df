"""From sizes and a plan to a prediction of peak memory. Arithmetic only: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from starvsr.families.star_i2vgen.footprint.grid import axis_of_tiles
from starvsr.families.star_i2vgen.footprint.layout import Layout, layout_of
from starvsr.families.star_i2vgen.footprint.network import Call, call_bytes
from starvsr.families.star_i2vgen.footprint.vae import Coding, decode_bytes, encode_bytes, tile_side
from starvsr.offload.memory_plan import Phase, Place, Prediction, Room
from starvsr.windows import Window, blended_windows, released_windows

if TYPE_CHECKING:
    from starvsr.models.star.config import StarUNetConfig
    from starvsr.models.vae.temporal import TemporalVaeConfig

MB = 2**20
MARGIN_SHARE = 0.05
"""Of what is counted, for gaps of the allocator and the rounding of blocks."""
MARGIN_BYTES = {"cuda": 800 * MB, "cpu": 100 * MB}
"""Context and kernels of a CUDA device and work space of its libraries; work space of the CPU's."""
LATENTS_HELD = 12
"""Maps of the clip's size in float32 that the sampler, its windows and its noise hold."""
CALL_LATENTS_HELD = 8
"""The same of one call's size: its cut-out, both velocities and what guidance makes of them."""
FRAMES_HELD = 3
"""Groups of decoded frames that blending holds."""


@dataclass(frozen=True)
class ModelSizes:
    """What memory depends on of a model.

    Args:
        unet: Its network.
        vae: Its autoencoder.
        network_bytes: All weights of the network.
        streamed_bytes: Weights of its largest two neighbouring modules and of those that are never streamed.
        vae_bytes: Weights of the autoencoder.
        item: Bytes of a number in the network's maps.
        decode_item: Bytes of a number in the decoder's maps; below 4 its norms compute in float32.
        group: Frames decoded together.
        window: Frames that the network sees at once.
        window_join: How windows are placed.
        texts: Texts read in one call.
        kept_texts: Texts whose deep features are kept over steps; 0 keeps none.
        context_tokens: Tokens of a text.
        device: "cpu" or "cuda" (any accelerator).
    """

    unet: StarUNetConfig
    vae: TemporalVaeConfig
    network_bytes: int
    streamed_bytes: int
    vae_bytes: int
    item: int = 2
    decode_item: int = 2
    group: int = 8
    window: int = 32
    window_join: Literal["blend", "released"] = "blend"
    texts: int = 1
    kept_texts: int = 0
    context_tokens: int = 77
    device: Literal["cpu", "cuda"] = "cuda"


def forecast(model: ModelSizes, num_frames: int, height: int, width: int, room: Room) -> Prediction:
    """Predict the peak of a segment.

    Args:
        model: The model.
        num_frames: Frames that a segment sees.
        height: Latent rows of a padded frame.
        width: Latent columns.
        room: The plan.
    """
    channels, cell = model.unet.in_channels, height * width
    weights = {phase: _weights(model, room.place, phase) for phase in ("encode", "sample", "decode")}
    latents = 4 * channels * num_frames * cell
    pixels = 4 * 3 * (model.vae.factor**2) * cell
    group = min(model.group, num_frames)
    coding = (tile_side(height, room.coding_tiles[0]), tile_side(width, room.coding_tiles[1]))
    frames, *tile = call_size(model, num_frames, height, width, room)
    call_latents = 4 * channels * frames * tile[0] * tile[1] * model.texts
    texts = 2 * _text_bytes(model)
    clip = {
        "encode": 5 * latents + 3 * pixels,
        "sample": LATENTS_HELD * latents + CALL_LATENTS_HELD * call_latents + texts,
        "decode": 2 * latents + FRAMES_HELD * group * pixels + texts,
    }
    kept = _kept_features(model, num_frames, height, width, room)
    work = {
        "encode": _encode_peak(model, *coding),
        "sample": _call_peak(model, frames, *tile, room.at_once, room.chunk) + kept,
        "decode": _decode_peak(model, group, *coding),
    }
    most = max(clip[phase] + work[phase] for phase in clip)
    margin = MARGIN_BYTES[model.device] + int(MARGIN_SHARE * most)
    return Prediction(weights, clip, work, margin)  # type: ignore[arg-type]


def call_size(model: ModelSizes, num_frames: int, height: int, width: int, room: Room) -> tuple[int, int, int]:
    """Return frames, rows and columns of the largest call of the network."""
    place = blended_windows if model.window_join == "blend" else released_windows
    frames = max(window.length for window in place(num_frames, model.window))
    rows, columns = (max(tile.length for tile in axis) for axis in axes_of(model.unet, height, width, room))
    return frames, rows, columns


def axes_of(unet: StarUNetConfig, height: int, width: int, room: Room) -> tuple[list[Window], list[Window]]:
    """Return the tiles of both axes of a padded frame."""
    step = unet.row_step
    return (
        axis_of_tiles(height, room.tiles[0], room.tile_overlap, step, 2 % step),
        axis_of_tiles(width, room.tiles[1], room.tile_overlap, step, 0),
    )


def _weights(model: ModelSizes, place: Place, phase: Phase) -> int:
    if place == "resident":
        return model.network_bytes + model.vae_bytes
    if phase != "sample":
        return model.vae_bytes
    return model.network_bytes if place == "offload" else min(model.network_bytes, model.streamed_bytes)


def _text_bytes(model: ModelSizes) -> int:
    """Keys and values of one text in all attentions that read it."""
    layout = _layout(model.unet)
    blocks = [*layout.encoder, layout.middle, *layout.encoder, layout.middle, *layout.decoder]
    width = sum(part.inner for block in blocks for part in block if part.kind == "spatial")
    return 2 * model.context_tokens * width * model.item


def _kept_features(model: ModelSizes, num_frames: int, height: int, width: int, room: Room) -> int:
    """Deep features of all windows and tiles: the map before the last decoder block."""
    if not model.kept_texts:
        return 0
    place = blended_windows if model.window_join == "blend" else released_windows
    frames = sum(window.length for window in place(num_frames, model.window))
    rows, columns = (sum(tile.length for tile in axis) for axis in axes_of(model.unet, height, width, room))
    return model.kept_texts * model.item * model.unet.width * frames * rows * columns


@lru_cache(maxsize=8)
def _layout(unet: StarUNetConfig) -> Layout:
    return layout_of(unet)


@lru_cache(maxsize=4096)
def _call_peak(model: ModelSizes, frames: int, rows: int, columns: int, at_once: int, chunk: int) -> int:
    call = Call(frames, rows, columns, model.texts, model.item, at_once, chunk)
    return call_bytes(_layout(model.unet), call).peak


@lru_cache(maxsize=1024)
def _decode_peak(model: ModelSizes, frames: int, rows: int, columns: int) -> int:
    coding = Coding(frames, rows, columns, model.decode_item, model.decode_item < 4)
    return decode_bytes(model.vae, coding).peak


@lru_cache(maxsize=1024)
def _encode_peak(model: ModelSizes, rows: int, columns: int) -> int:
    return encode_bytes(model.vae, Coding(1, rows, columns)).peak


def streamed_bytes(unet: StarUNetConfig, item: int) -> int:
    """Return `ModelSizes.streamed_bytes` of a network whose numbers take ``item`` bytes each."""
    layout = _layout(unet)
    sizes = [part.num_parameters(unet) for part in layout.modules()]
    pairs = [one + other for one, other in pairwise(sizes)]
    return item * (max(pairs) + layout.other_parameters())
