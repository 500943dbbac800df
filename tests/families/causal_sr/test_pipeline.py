"""causal-sr as users run it: sizes from its file, segments that join to the same bytes, nothing needless computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from starvsr.engine.segments import Segment
from starvsr.errors import OptionError, WeightsError
from starvsr.families.causal_sr.carried import CarriedStates
from starvsr.families.causal_sr.pipeline import CausalPipeline, load
from starvsr.families.causal_sr.spec import CAUSAL_SR
from starvsr.families.job_settings import blended_detail, complete_options, job_settings, plain_settings
from starvsr.families.loading import load_upscaler
from starvsr.families.options import UpscaleOptions
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import read_tensors, save_weights
from tests.support.bfloat16 import needs_bfloat16

SIZES = {"width": 8, "num_blocks": 3, "memory": 2, "up_width": 4, "thin_width": 4}


def _write(path: Path, **metadata: str) -> Path:
    torch.manual_seed(0)
    network = CausalSR(CausalSRConfig(**SIZES))  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    metadata = metadata or {"network": json.dumps(SIZES)}
    save_weights(network.state_dict(), path, dtype=torch.float32, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("weights") / "causal-sr.safetensors")


@pytest.fixture
def pipeline(weights: Path) -> CausalPipeline:
    made = load_upscaler("causal-sr", weights=str(weights), device="cpu", precision="fp32")
    assert isinstance(made, CausalPipeline)
    return made


def _clip(num_frames: int) -> torch.Tensor:
    return torch.rand(1, 3, num_frames, 9, 11, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_file_tells_the_sizes_and_the_traits_the_memory(pipeline: CausalPipeline) -> None:
    assert pipeline.network.config == CausalSRConfig(**SIZES)  # type: ignore[arg-type]
    assert pipeline.traits.overlap == 2 and pipeline.traits.crossfade == 0 and pipeline.scale == 4
    assert pipeline.traits.digest is not None


def test_segments_with_their_context_join_to_the_whole(pipeline: CausalPipeline) -> None:
    clip = _clip(9)
    whole = pipeline.upscale_clip(clip)
    assert whole.shape == (1, 3, 9, 36, 44) and whole.abs().max() <= 1
    parts = []
    for first, last in ((0, 4), (4, 7), (7, 9)):
        start, stop = max(first - 2, 0), min(last + 2, 9)
        keep = slice(first - start, last - start)
        parts += [frame.clamp(-1, 1) for frame in pipeline.upscale_frames(clip[:, :, start:stop], keep)]
    assert torch.equal(torch.stack(parts, 1)[None], whole)


def test_only_what_is_kept_is_computed(pipeline: CausalPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, advanced = [], []
    step, advance = pipeline.network.step, pipeline.network.advance
    monkeypatch.setattr(pipeline.network, "step", lambda *a: steps.append(1) or step(*a))
    monkeypatch.setattr(pipeline.network, "advance", lambda *a: advanced.append(1) or advance(*a))
    assert len(list(pipeline.upscale_frames(_clip(9), slice(4, 6)))) == 2
    assert (len(steps), len(advanced)) == (2, 2)


def _spied(pipeline: CausalPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note each frame that is computed for its effect on later ones alone."""
    advanced: list[int] = []
    advance = pipeline.network.advance
    monkeypatch.setattr(pipeline.network, "advance", lambda *a: advanced.append(1) or advance(*a))
    return advanced


def _rendered(
    pipeline: CausalPipeline, clip: torch.Tensor, pieces: list[tuple[int, int]], overlap: int = 2, cut: int = 0
) -> list[torch.Tensor]:
    """Render pieces of a clip in one session, each with its context; ``cut`` begins a scene."""
    made: list[torch.Tensor] = []
    with pipeline.open(plain_settings(pipeline)) as session:
        for index, (first, last) in enumerate(pieces):
            start = max(first - overlap, cut if first >= cut else 0)
            segment = Segment(index, start, last, first, last)
            lq, keep = clip[:, :, start:last], slice(first - start, last - start)
            made += session.upscale(lq, keep, segment=segment, first_frame=start)
    return made


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_a_session_goes_on_from_the_segment_before(pipeline: CausalPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, advanced = _clip(9), _spied(pipeline, monkeypatch)
    whole = _rendered(pipeline, clip, [(0, 9)])
    for pieces in ([(0, 4), (4, 7), (7, 9)], [(0, 1), (1, 2), (2, 3), (3, 9)]):
        assert _equal(_rendered(pipeline, clip, pieces), whole)
    assert advanced == []
    resumed = _rendered(pipeline, clip, [(4, 7), (7, 9)])  # as after a kill: what came before is not there
    assert _equal(resumed, whole[4:]) and len(advanced) == 2


def test_what_does_not_follow_is_computed_anew(pipeline: CausalPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, advanced = _clip(9), _spied(pipeline, monkeypatch)
    whole = _rendered(pipeline, clip, [(0, 9)])
    backwards = _rendered(pipeline, clip, [(6, 9), (3, 6), (0, 3)])
    assert _equal(backwards[6:] + backwards[3:6] + backwards[:3], whole) and len(advanced) == 4
    apart = _rendered(pipeline, clip, [(0, 4), (4, 6), (6, 9)], cut=4)  # a scene begins: nothing before it is seen
    assert _equal(apart[4:], _rendered(pipeline, clip[:, :, 4:], [(0, 5)])) and len(advanced) == 4
    short = _rendered(pipeline, clip, [(0, 4), (4, 9)], overlap=1)  # less context than the memory, as was asked for
    assert _equal(short[4:], list(pipeline.upscale_frames(clip[:, :, 3:], slice(1, 6))))
    assert not torch.equal(short[4], whole[4])


def test_states_of_tiles_are_told_apart_and_bounded() -> None:
    one, other = _clip(4).unbind(2)[:2], _clip(4).flip(2).unbind(2)[:2]
    states = [(torch.full((1, 2, 4, 4), value),) for value in (1.0, 2.0)]
    carried = CarriedStates(2)
    for frames, state in zip((one, other), states, strict=True):
        assert carried.take(()) is None
        carried.keep(frames, state, 0)
    assert carried.take(other) is states[1] and carried.take(one) is states[0]
    assert carried.take(one) is None  # it was taken
    alike = CarriedStates(2)  # two tiles of one content
    for _ in range(2):
        alike.take(())
        alike.keep(one, states[0], 0)
    assert [alike.take(one) is states[0] for _ in range(3)] == [True, True, False]
    small = CarriedStates(2, most_bytes=100)
    for frames, state in zip((one, other), states, strict=True):
        small.take(())
        small.keep(frames, state, 0)
    assert small.take(other) is None and small.take(one) is states[0]
    late = CarriedStates(2)
    late.take(())
    late.keep(one, states[0], 0)
    late.take(())
    late.keep(other, states[1], 2)
    assert late.take(one) is None and late.take(other) is states[1]


@needs_bfloat16
def test_bfloat16_gives_nearly_the_same(weights: Path, pipeline: CausalPipeline) -> None:
    other = load(CAUSAL_SR, weights=weights, precision="bf16")
    difference = (other.upscale_clip(_clip(3)) - pipeline.upscale_clip(_clip(3))).abs()
    assert 0 < difference.max() < 0.05 and difference.mean() < 5e-3


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="comes without weights: train it"):
        load_upscaler("causal-sr", device="cpu")
    with pytest.raises(WeightsError, match="no weights at"):
        load_upscaler("causal-sr", weights=tmp_path / "none.safetensors", device="cpu")
    other = _write(tmp_path / "other.safetensors", network=json.dumps({**SIZES, "width": 12}))
    with pytest.raises(WeightsError):
        load_upscaler("causal-sr", weights=other, device="cpu")
    odd = _write(tmp_path / "odd.safetensors", network=json.dumps({"heads": 2}))
    with pytest.raises(WeightsError, match="sizes that its network does not have"):
        load_upscaler("causal-sr", weights=odd, device="cpu")
    with pytest.raises(OptionError, match="prompt"):
        load_upscaler("causal-sr", weights=other, prompt="a cat", device="cpu")


def test_detail_goes_from_one_end_to_the_other(weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    vivid = {name: value + 0.05 * torch.randn_like(value) for name, value in read_tensors(weights).items()}
    file = tmp_path / "ends.safetensors"
    metadata = {"network": json.dumps(SIZES)}
    save_weights(join_ends(read_tensors(weights), vivid), file, dtype=torch.float32, metadata=metadata)

    def made(detail: float | None) -> torch.Tensor:
        return load(CAUSAL_SR, weights=file, precision="fp32", detail=detail).upscale_clip(_clip(2))

    one = load(CAUSAL_SR, weights=weights, precision="fp32").upscale_clip(_clip(2))
    assert torch.equal(made(0.0), one)
    assert torch.equal(made(None), made(0.5))
    distances = [float((made(detail) - one).abs().mean()) for detail in (0.25, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2]
    both = load(CAUSAL_SR, weights=file, precision="fp32", detail=0.25)
    assert blended_detail(both, complete_options(both, UpscaleOptions(model="causal-sr"))) is None
    with pytest.raises(OptionError, match=r"loaded already, with --detail 0\.25"):
        complete_options(both, UpscaleOptions(model="causal-sr", detail=0.5))


def test_with_one_end_detail_is_left_to_finished_frames(weights: Path) -> None:
    single = load_upscaler("causal-sr", weights=weights, device="cpu", detail=0.25)
    for asked, done in ((None, 0.25), (0.75, 0.75)):
        options = complete_options(single, UpscaleOptions(model="causal-sr", detail=asked))
        assert blended_detail(single, options) == done and job_settings(single, options)[0].values == {}
    with pytest.raises(OptionError, match="--detail is an option of a job"):
        load_upscaler("star-small", device="cpu", detail=0.5)
