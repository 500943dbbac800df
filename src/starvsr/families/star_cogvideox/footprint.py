"""What STAR on CogVideoX needs in memory: its networks traced on the meta device, its clip counted.

The transformer's maps grow with its tokens and the VAE's with frames and cells, so each is traced at three sizes, once
in a process; of the transformer two blocks are enough.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch

from starvsr.families.star_cogvideox.codec import TILE_OVERLAP
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.tiles import (
    CELL_PX,
    FRAMES_PER_LATENT,
    axis_of_tiles,
    latent_count,
    longest,
    trained_tiles,
)
from starvsr.models.cogvideox import lean_vae
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.libraries import library
from starvsr.models.cogvideox.transformer import build_transformer
from starvsr.models.weights import build_empty
from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import Place
from starvsr.offload.tile_grids import grids
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.offload.traced import ComponentBytes, LinearFit

ENCODE, SAMPLE, DECODE = "encode", "sample", "decode"
TRANSFORMER, VAE = "transformer", "vae"
USES = {ENCODE: (VAE,), SAMPLE: (TRANSFORMER,), DECODE: (VAE,)}
_LABELS = {ENCODE: "encoding", SAMPLE: "sampling", DECODE: "decoding"}
_FLOAT = 4
_LATENTS_HELD = 9
"""Clips of latents, float32: low quality, start, now, both noises, estimates now and before, and two on the way."""
_SHORTEST_TILE = 16
_SIZES = ClipSize(2, 16, 16), ClipSize(2, 24, 24), ClipSize(4, 24, 24)
_GRIDS = 24
"""Tilings that are considered, the one of the published size among them."""
_CODING_GRIDS = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (4, 6), (6, 8))


@dataclass(frozen=True)
class CogVideoXFootprint:
    """See `starvsr.offload.footprint.Footprint`.

    Args:
        config: Sizes of the transformer.
        vae: Configuration of the VAE, as JSON.
        dtype: Number type that both compute in.
        components: Weights by component.
        unpacked: Bytes of the largest weight multiplied out from 8 bits.
        window: Latent frames that the transformer sees at once.
        piece: Frames that are encoded in one pass; None takes whole clips.
        scale: Enlargement.
        device: Where the model computes.
    """

    config: TransformerConfig
    vae: str
    dtype: torch.dtype
    components: Mapping[str, ComponentBytes]
    unpacked: int
    window: int
    piece: int | None
    scale: int
    device: Device

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order in which they run."""
        return tuple(Phase(name, label, USES[name]) for name, label in _LABELS.items())

    def weights(self, place: Place, phase: str) -> int:
        """Return the bytes of weights on the device in a phase."""
        if place == "resident":
            return sum(each.total for each in self.components.values()) + self.unpacked
        used = [self.components[name] for name in USES[phase]]
        extra = self.unpacked if phase == SAMPLE else 0
        return sum(each.streamed if place == "stream" else each.total for each in used) + extra

    def peak(self, phase: str, clip: ClipSize, plan: CogVideoXPlan) -> PhasePeak:
        """Return the bytes that a phase needs for a segment under a plan; a clip's frames are those of the video."""
        cells, frames = clip.height * clip.width, clip.num_frames
        pixels = 3 * _FLOAT * CELL_PX**2 * cells * frames
        held = pixels // self.scale**2 + _LATENTS_HELD * _FLOAT * self.config.out_channels * cells * latent_count(
            frames
        )
        if phase == SAMPLE:
            return PhasePeak(held, self._sampling(clip, plan))
        is_tiled = plan.coding_tiles != (1, 1)
        if self.device == "cpu" and (phase == ENCODE or is_tiled):  # elsewhere these are in the host's memory
            held += pixels
        rows, columns = (
            longest(axis_of_tiles(side, count, TILE_OVERLAP))
            for side, count in zip((clip.height, clip.width), plan.coding_tiles, strict=True)
        )
        if phase == ENCODE:
            work = encoding_bytes(self.vae, self.dtype, min(frames, self.piece or frames), frames, rows, columns)
        else:
            work = decoding_bytes(self.vae, self.dtype, latent_count(frames), rows, columns)
        return PhasePeak(held, work)

    def _sampling(self, clip: ClipSize, plan: CogVideoXPlan) -> int:
        rows, columns = (
            longest(axis_of_tiles(side, count, plan.tile_overlap))
            for side, count in zip((clip.height, clip.width), plan.tiles, strict=True)
        )
        size = ClipSize(min(latent_count(clip.num_frames), self.window), rows, columns)
        return transformer_bytes(self.config, self.dtype).at(size)

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> Sequence[CogVideoXPlan]:
        """List the plans, the one with the least work first: tiles as large as in training, or smaller ones.

        Larger tiles save work, and show the network positions that it was not trained with: the user may ask for them.
        """
        places: tuple[Place, ...] = limits.places if self.device != "cpu" else ("resident",)
        if limits.tiles is not None:
            tilings = [limits.tiles]
        else:
            least = trained_tiles(clip.height, clip.width, limits.tile_overlap)
            shortest = max(_SHORTEST_TILE, 2 * limits.tile_overlap)
            finer = [
                (down, across)
                for down, across in grids(clip.height, clip.width, shortest)
                if down >= least[0] and across >= least[1] and (down, across) != least
            ]
            tilings = [least, *sorted(finer, key=lambda grid: grid[0] * grid[1])][:_GRIDS]
        coding = [
            (down, across)
            for down, across in (grid if clip.width >= clip.height else grid[::-1] for grid in _CODING_GRIDS)
            if (down, across) == (1, 1) or min(clip.height // down, clip.width // across) >= 2 * TILE_OVERLAP
        ]
        return [
            CogVideoXPlan(place, tiles, limits.tile_overlap, coding_tiles)
            for place in places
            for tiles in tilings
            for coding_tiles in coding
        ]

    def tile_work(self, clip: ClipSize, plan: CogVideoXPlan) -> float:
        """Return the cells of all tiles, relative to those of the frame."""
        return _work(clip, plan.tiles, plan.tile_overlap)

    def extra_work(self, plan: CogVideoXPlan) -> float:
        """Return what tiles of the VAE cost: about a fortieth of the work for each doubling of its cells."""
        return 0.005 * (plan.coding_tiles[0] * plan.coding_tiles[1] - 1)

    def plan_from(self, values: Mapping[str, Any]) -> CogVideoXPlan:
        """Read a plan from a job's manifest."""
        return CogVideoXPlan.from_dict(values)


def _work(clip: ClipSize, tiles: tuple[int, int], overlap: int) -> float:
    rows, columns = (
        sum(window.length for window in axis_of_tiles(side, count, overlap)) / side
        for side, count in zip((clip.height, clip.width), tiles, strict=True)
    )
    return rows * columns


def _outside_inference(call: Any) -> Any:
    """Trace with plain tensors: those of inference mode do not count."""
    with torch.inference_mode(False), torch.no_grad():
        return call()


@lru_cache(maxsize=8)
def transformer_bytes(config: TransformerConfig, dtype: torch.dtype) -> LinearFit:
    """Return the bytes of one call of the transformer by latent frames and cells; all its blocks need the same."""
    return LinearFit.through(_SIZES, _outside_inference(partial(_trace_transformer, config, dtype)))


def _trace_transformer(config: TransformerConfig, dtype: torch.dtype) -> list[int]:
    network = build_transformer(dataclasses.replace(config, num_layers=min(config.num_layers, 2))).to(dtype)
    text = torch.empty(1, config.max_text_seq_length, config.text_embed_dim, dtype=dtype, device="meta")
    peaks = []
    for size in _SIZES:
        given = torch.empty(1, size.num_frames, config.in_channels, size.height, size.width, dtype=dtype, device="meta")
        time = torch.empty(1, device="meta")
        with FusedAttention(), LiveBytes([*network.state_dict().values(), given, text, time]) as live:
            network(given, time, text)
        peaks.append(live.peak + given.nbytes + text.nbytes)
    return peaks


@lru_cache(maxsize=4)
def _empty_vae(vae: str) -> Any:
    return build_empty(lambda: library("diffusers").AutoencoderKLCogVideoX.from_config(json.loads(vae))).eval()


_LARGE = ClipSize(5, 64, 96), ClipSize(5, 96, 96), ClipSize(9, 96, 96)
"""Sizes at which the VAE is traced for large frames: it works frame by frame, so three are enough."""
_SMALL = 1 << 22
"""Elements of the widest map of all frames up to which a call is traced as it is: statistics are not cut yet."""


def encoding_bytes(vae: str, dtype: torch.dtype, piece: int, num_frames: int, rows: int, columns: int) -> int:
    """Return the bytes of encoding a tile: what a piece needs, and the moments of all.

    Args:
        vae: Configuration, as JSON.
        dtype: Number type.
        piece: Frames of a piece.
        num_frames: Frames of the clip.
        rows: Cells of the tile.
        columns: Cells of the tile.
    """
    has_next = num_frames > piece
    work = _vae_bytes(vae, dtype, ClipSize(piece, rows, columns), partial(_trace_encoder, vae, dtype, has_next))
    channels = 2 * int(json.loads(vae)["latent_channels"])
    return work + 3 * _FLOAT * channels * rows * columns * latent_count(num_frames)


def decoding_bytes(vae: str, dtype: torch.dtype, latents: int, rows: int, columns: int) -> int:
    """Return the bytes of decoding a tile, by its first two pieces.

    Args:
        vae: Configuration, as JSON.
        dtype: Number type.
        latents: Latent frames of the clip.
        rows: Cells of the tile.
        columns: Cells of the tile.
    """
    count = 1 if latents == 1 else 3 if latents <= 3 else 5
    trace = partial(_trace_decoder, vae, dtype, count)
    work = _vae_bytes(vae, dtype, ClipSize(frames_of(count), rows, columns), trace)
    return work + 2 * 3 * _FLOAT * CELL_PX**2 * rows * columns


def _vae_bytes(vae: str, dtype: torch.dtype, size: ClipSize, trace: Any) -> int:
    """Return the bytes of a call: traced as it is where it is small, else from traces of three sizes."""
    widest = 2 * int(json.loads(vae)["block_out_channels"][0]) * CELL_PX**2 * size.height * size.width
    if widest * size.num_frames <= _SMALL:
        return int(trace(size))
    if trace.func is _trace_decoder:  # its pieces are of one length
        small, large = (trace(each) for each in _LARGE[:2])
        return LinearFit.through(_LARGE, [small, large, large]).at(size)
    return LinearFit.through(_LARGE, [trace(each) for each in _LARGE]).at(size)


@lru_cache(maxsize=256)
def _trace_encoder(vae: str, dtype: torch.dtype, has_next: bool, size: ClipSize) -> int:
    def trace() -> int:
        encoder = _empty_vae(vae).encoder.to(dtype)
        shape = 1, 3, size.num_frames, CELL_PX * size.height, CELL_PX * size.width
        given = torch.empty(shape, dtype=dtype, device="meta")
        carried: lean_vae.Carried | None = {} if has_next else None
        with LiveBytes([*encoder.state_dict().values(), given]) as live:
            lean_vae.encode(encoder, given, carried=carried)
            kept = sum(ends.nbytes for ends in (carried or {}).values())
        return live.peak + given.nbytes + kept  # the ends of the piece before are there when the next one begins

    return int(_outside_inference(trace))


@lru_cache(maxsize=256)
def _trace_decoder(vae: str, dtype: torch.dtype, count: int, size: ClipSize) -> int:
    def trace() -> int:
        network = _empty_vae(vae)
        decoder = network.decoder.to(dtype)
        shape = 1, network.config.latent_channels, count, size.height, size.width
        given = torch.empty(shape, dtype=dtype, device="meta")
        carried: lean_vae.Carried = {}
        with LiveBytes([*decoder.state_dict().values(), given]) as live:
            made = lean_vae.decode_piece(decoder, given[:, :, : min(count, 3)], carried)
            if count > 3:
                del made
                lean_vae.decode_piece(decoder, given[:, :, 3:], carried)
        return live.peak + 2 * given.nbytes

    return int(_outside_inference(trace))


def frames_of(latents: int) -> int:
    """Return the frames of the video that latent frames stand for, the first one for one frame."""
    return FRAMES_PER_LATENT * (latents - 1) + 1
