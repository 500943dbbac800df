"""Predictions from shapes against the bytes of tensors that are alive, on networks of small and medium width."""

from __future__ import annotations

import random

import pytest

from benchmarks.memory.star_memory import Setting, measure, random_setting
from starvsr.families.star_i2vgen.footprint import vae
from starvsr.families.star_i2vgen.footprint.layout import layout_of
from starvsr.families.star_i2vgen.spec import STAR_LIGHT
from starvsr.models.vae import codec as temporal_vae_codec
from starvsr.models.vae import temporal as temporal_vae


@pytest.mark.parametrize("seed", range(6))
def test_random_settings_are_predicted_within_a_tenth(seed: int) -> None:
    setting = random_setting(random.Random(seed), largest_width=32)
    told = measure(setting)
    assert told.network_ratio == pytest.approx(1, abs=0.05), setting
    assert told.decode_ratio == pytest.approx(1, abs=0.05), setting
    assert told.encode_ratio == pytest.approx(1, abs=0.05), setting


def test_pieces_hold_less_and_the_prediction_knows() -> None:
    whole = Setting(frames=6, rows=34, columns=32)
    cut = Setting(frames=6, rows=34, columns=32, at_once=50_000, chunk=200)
    a, b = measure(whole), measure(cut)
    assert b.network_bytes < 0.7 * a.network_bytes
    assert b.network_ratio == pytest.approx(1, abs=0.1)


def test_the_layout_has_the_parameters_of_the_published_network() -> None:
    layout = layout_of(STAR_LIGHT.unet)
    assert layout.num_parameters == 2_041_121_910


def test_constants_are_those_of_the_networks() -> None:
    assert (vae.STRIP_VALUES, vae.SPATIAL_VALUES) == (temporal_vae.STRIP_VALUES, temporal_vae.SPATIAL_VALUES)
    assert vae.TILE_OVERLAP == temporal_vae_codec.TILE_OVERLAP
    for cells in range(1, 90, 7):
        for count in (1, 2, 3, 5):
            tiles = temporal_vae_codec.axis_tiles(cells, count)
            assert max(tile.length for tile in tiles) == vae.tile_side(cells, count), (cells, count)
