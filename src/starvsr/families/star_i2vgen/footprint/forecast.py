"""The footprint of STAR on I2VGen-XL: from sizes and a plan to predicted memory. Arithmetic only: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from starvsr.families.star_i2vgen.footprint.grid import axis_of_tiles
from starvsr.families.star_i2vgen.footprint.layout import Layout, layout_of
from starvsr.families.star_i2vgen.footprint.network import Call, call_bytes
from starvsr.families.star_i2vgen.footprint.plan import CODING_TILE_COST, StarPlan, star_plans
from starvsr.families.star_i2vgen.footprint.vae import Coding, decode_bytes, encode_bytes, tile_side
from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import Place
from starvsr.windows import Window, blended_windows, released_windows

if TYPE_CHECKING:
    from starvsr.models.star.config import StarUNetConfig
    from starvsr.models.vae.temporal import TemporalVaeConfig

PHASES = (
    Phase("encode", "encoding", ("vae",)),
    Phase("sample", "sampling", ("network",)),
    Phase("decode", "decoding", ("vae",)),
)
LATENTS_HELD = 12
"""Maps of the clip's size in float32 that the sampler, its windows and its noise hold."""
CALL_LATENTS_HELD = 8
"""The same of one call's size: its crop, both velocities and the results of guidance."""
FRAMES_HELD = 3
"""Groups of decoded frames that blending holds."""


@dataclass(frozen=True)
class StarFootprint:
    """A loaded model as far as its memory depends on it; see `starvsr.offload.footprint.Footprint`.

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
    device: Device = "cuda"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Encoding, sampling, decoding."""
        return PHASES

    def weights(self, place: Place, phase: str) -> int:
        """Return the bytes of weights on the device in a phase."""
        if place == "resident":
            return self.network_bytes + self.vae_bytes
        if phase != "sample":
            return self.vae_bytes
        return self.network_bytes if place == "offload" else min(self.network_bytes, self.streamed_bytes)

    def peak(self, phase: str, clip: ClipSize, plan: StarPlan) -> PhasePeak:
        """Return the bytes that a phase needs for a segment under a plan."""
        channels, cell = self.unet.in_channels, clip.height * clip.width
        latents = 4 * channels * clip.num_frames * cell
        pixels = 4 * 3 * (self.vae.factor**2) * cell
        tile = tile_side(clip.height, plan.coding_tiles[0]), tile_side(clip.width, plan.coding_tiles[1])
        if phase == "encode":
            return PhasePeak(5 * latents + 3 * pixels, _encode_peak(self, *tile))
        texts = 2 * _text_bytes(self)
        if phase == "decode":
            group = min(self.group, clip.num_frames)
            return PhasePeak(2 * latents + FRAMES_HELD * group * pixels + texts, _decode_peak(self, group, *tile))
        frames, rows, columns = call_size(self, clip, plan)
        call_latents = 4 * channels * frames * rows * columns * self.texts
        work = _call_peak(self, frames, rows, columns, plan.at_once, plan.chunk)
        return PhasePeak(
            LATENTS_HELD * latents + CALL_LATENTS_HELD * call_latents + texts, work + _kept_features(self, clip, plan)
        )

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> tuple[StarPlan, ...]:
        """List the plans for frames of this size."""
        return star_plans(clip.height, clip.width, limits, self.device, self.unet.width)

    def tile_work(self, clip: ClipSize, plan: StarPlan) -> float:
        """Return the cells of all tiles, relative to those of the frame."""
        rows, columns = axes_of(self.unet, clip.height, clip.width, plan)
        return sum(t.length for t in rows) * sum(t.length for t in columns) / (clip.height * clip.width)

    def extra_work(self, plan: StarPlan) -> float:
        """Return the time of further tiles of the autoencoder, relative to the whole job."""
        return CODING_TILE_COST * (plan.coding_tiles[0] * plan.coding_tiles[1] - 1)

    def plan_from(self, values: Mapping[str, Any]) -> StarPlan:
        """Read a plan from a job's manifest."""
        return StarPlan.from_dict(values)


def call_size(model: StarFootprint, clip: ClipSize, plan: StarPlan) -> tuple[int, int, int]:
    """Return frames, rows and columns of the largest call of the network."""
    place = blended_windows if model.window_join == "blend" else released_windows
    frames = max(window.length for window in place(clip.num_frames, model.window))
    rows, columns = (max(tile.length for tile in axis) for axis in axes_of(model.unet, clip.height, clip.width, plan))
    return frames, rows, columns


def axes_of(unet: StarUNetConfig, height: int, width: int, plan: StarPlan) -> tuple[list[Window], list[Window]]:
    """Return the tiles of both axes of a padded frame."""
    step = unet.row_step
    return (
        axis_of_tiles(height, plan.tiles[0], plan.tile_overlap, step, 2 % step),
        axis_of_tiles(width, plan.tiles[1], plan.tile_overlap, step, 0),
    )


def _text_bytes(model: StarFootprint) -> int:
    """Keys and values of one text in all attentions that read it."""
    layout = _layout(model.unet)
    blocks = [*layout.encoder, layout.middle, *layout.encoder, layout.middle, *layout.decoder]
    width = sum(part.inner for block in blocks for part in block if part.kind == "spatial")
    return 2 * model.context_tokens * width * model.item


def _kept_features(model: StarFootprint, clip: ClipSize, plan: StarPlan) -> int:
    """Deep features of all windows and tiles: the map before the last decoder block."""
    if not model.kept_texts:
        return 0
    place = blended_windows if model.window_join == "blend" else released_windows
    frames = sum(window.length for window in place(clip.num_frames, model.window))
    rows, columns = (sum(tile.length for tile in axis) for axis in axes_of(model.unet, clip.height, clip.width, plan))
    return model.kept_texts * model.item * model.unet.width * frames * rows * columns


@lru_cache(maxsize=8)
def _layout(unet: StarUNetConfig) -> Layout:
    return layout_of(unet)


@lru_cache(maxsize=4096)
def _call_peak(model: StarFootprint, frames: int, rows: int, columns: int, at_once: int, chunk: int) -> int:
    call = Call(frames, rows, columns, model.texts, model.item, at_once, chunk)
    return call_bytes(_layout(model.unet), call).peak


@lru_cache(maxsize=1024)
def _decode_peak(model: StarFootprint, frames: int, rows: int, columns: int) -> int:
    coding = Coding(frames, rows, columns, model.decode_item, model.decode_item < 4)
    return decode_bytes(model.vae, coding).peak


@lru_cache(maxsize=1024)
def _encode_peak(model: StarFootprint, rows: int, columns: int) -> int:
    return encode_bytes(model.vae, Coding(1, rows, columns)).peak


def streamed_bytes(unet: StarUNetConfig, item: int) -> int:
    """Return `StarFootprint.streamed_bytes` of a network whose numbers take ``item`` bytes each."""
    layout = _layout(unet)
    sizes = [part.num_parameters(unet) for part in layout.modules()]
    pairs = [one + other for one, other in pairwise(sizes)]
    return item * (max(pairs) + layout.other_parameters())
