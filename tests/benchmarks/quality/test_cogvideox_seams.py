"""The seams of STAR on CogVideoX between segments, windows and tiles, with networks that leave pictures as they are."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from benchmarks.quality import cogvideox_seams as seams
from benchmarks.quality.identity_cogvideox import identity_vae
from starvsr.families.star_cogvideox.codec import CogVideoXCodec

SIZE = 16, 16


def test_segments_do_not_show_and_their_context_is_why() -> None:
    found, bare = (seams.segments(SIZE, 0.0, 8, context=context) for context in (True, False))
    assert found.count == 3 and found.ratio <= seams.MOST and found.step < 0.5
    assert found.apart < 0.75 * bare.apart


def test_windows_do_not_show() -> None:
    found = seams.windows(SIZE, 1.0, 13, 2)
    assert found.count >= 1 and found.ratio <= seams.MOST and found.step < 0.5


@pytest.mark.parametrize("tiling", ["tiles", "coding_tiles"])
def test_tiles_do_not_show(tiling: str) -> None:
    for found in seams.tiles(SIZE, 1.0, tiling):
        assert found.count == 1 and found.ratio <= seams.MOST and found.step < 0.5


def test_a_border_that_shows_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clip = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    cut = clip.clone()
    cut[4:] += 0.5
    found = seams._figure("segments", 0.0, cut, clip, 0, [4], 1)
    assert found.ratio > seams.MOST and found.step == pytest.approx(0.5, abs=1e-5)
    monkeypatch.setattr(seams, "measure", lambda size: [found])
    assert seams.main([]) == 1 and "| segments | 1 | 0 levels | " in capsys.readouterr().out


def test_the_autoencoder_keeps_pictures() -> None:
    """Waves as long as some cells come back; less would make every seam invisible."""
    clip = torch.stack([torch.from_numpy(frame) for frame in seams.pattern(5, 64, 64)]).permute(3, 0, 1, 2)[None]
    clip = clip.float() / 127.5 - 1
    with torch.inference_mode():
        codec = CogVideoXCodec(identity_vae())
        made = torch.stack(list(codec.decode(codec.encode(clip, None))), 1)
    pair = torch.stack([made.flatten(), clip[0].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.8
