"""The stream of samples: fixed by seed and number alone, cut rightly, sparing with clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from starvsr.data.clips import Clip, DegradedClips, StoredPairs
from starvsr.data.paired import make_eval_pairs
from starvsr.data.pool import Sample, SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.errors import DataError, OptionError

MakeStream = Callable[..., SampleStream]


class Numbered:
    """Clips whose pixels are their number: cheap, and every sample tells where it is from."""

    clip_frames, gt_size, scale = 4, 32, 4

    def __init__(self) -> None:
        self.made: list[int] = []

    def make(self, index: int) -> Clip:
        self.made.append(index)
        gt = torch.full((4, 32, 32, 3), index % 256, dtype=torch.uint8)
        return Clip(gt=gt, lq=gt[:, ::4, ::4], caption=f"clip {index}", name=str(index))

    def captions(self) -> dict[str, str]:
        return {}


def numbered(**options: Any) -> SampleStream:
    return SampleStream(Numbered(), **{"num_frames": 3, "lq_crop": 4, "pool_size": 5, "crops_per_clip": 8} | options)


@pytest.fixture(scope="module")
def make_stream(media: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeStream:
    source = SharpSource(media / "video", media / "image", tmp_path_factory.mktemp("cache"))

    def make(recipe: str = "mixed", seed: int = 0, **options: Any) -> SampleStream:
        clips = DegradedClips(source, recipe, clip_frames=4, gt_size=64, seed=seed)
        sizes = {"num_frames": 3, "lq_crop": 8, "pool_size": 3, "crops_per_clip": 4, "seed": seed}
        return SampleStream(clips, **sizes | options)

    return make


def same(a: Sample, b: Sample) -> bool:
    return torch.equal(a["lq"], b["lq"]) and torch.equal(a["gt"], b["gt"]) and a["name"] == b["name"]


def test_samples_have_shape_type_and_range(make_stream: MakeStream) -> None:
    for sample in islice(make_stream(), 12):
        assert sample["lq"].shape == (3, 3, 8, 8) and sample["gt"].shape == (3, 3, 32, 32)
        for name in ("lq", "gt"):
            assert sample[name].dtype == torch.float32 and sample[name].is_contiguous()
            assert sample[name].min() >= -1 and sample[name].max() <= 1


class Counted:
    """Adds the frame with a number as the example of clips, and remembers of which."""

    def __init__(self, frame: int) -> None:
        self.frame, self.names = frame, list[str]()

    def __call__(self, clip: Clip) -> Clip:
        self.names.append(clip["name"])
        return Clip(**clip, example=clip["gt"][self.frame], example_frame=self.frame)


@pytest.mark.parametrize("frame", [0, 1, 3])
def test_an_example_is_cut_as_the_frame_that_it_is_of(make_stream: MakeStream, frame: int) -> None:
    stream, add = make_stream(), Counted(frame)
    plain = make_stream()
    plain_names = [sample["name"] for sample in islice(plain, 40)]
    stream.add_examples(add)
    places = set()
    for sample, name in zip(islice(stream, 40), plain_names, strict=True):
        place = sample["example_frame"]
        assert torch.equal(sample["example"][:, 0], sample["gt"][:, place]) and sample["name"] == name
        places.add(place)
    assert places == {0: {0, 2}, 1: {0, 1, 2}, 3: {0, 2}}[frame]
    assert len(add.names) == len(set(add.names)) == len(set(plain_names))  # once for a clip
    batch = next(stream.batches(2))
    assert batch["example"].shape == (2, 3, 1, 32, 32) and len(batch["example_frame"]) == 2


def test_a_resumed_stream_has_the_same_examples() -> None:
    stream, resumed = numbered(), numbered(first_sample=21)
    stream.add_examples(Counted(1))
    resumed.add_examples(Counted(1))
    samples = list(islice(stream, 40))[21:]
    for one, other in zip(samples, islice(resumed, 19), strict=True):
        assert same(one, other) and torch.equal(one["example"], other["example"])
        assert one["example_frame"] == other["example_frame"]


def test_examples_of_a_stage_before_are_replaced() -> None:
    stream, second = numbered(crops_per_clip=50), Counted(2)
    stream.add_examples(Counted(1))
    names = {sample["name"] for sample in islice(stream, 20)}
    stream.add_examples(second)
    assert {sample["name"] for sample in islice(stream, 20)} == names == set(second.names)
    stream.add_examples(None)
    batch = next(stream.batches(2))
    assert "example" not in batch and "example_frame" not in batch


def test_batches_are_samples_in_order() -> None:
    batch = next(numbered().batches(3))
    samples = list(islice(numbered(), 3))
    assert torch.equal(batch["gt"], torch.stack([sample["gt"] for sample in samples]))
    assert batch["name"] == [sample["name"] for sample in samples]


def test_the_stream_repeats_for_a_seed_and_differs_for_others(make_stream: MakeStream) -> None:
    first, again, other = (list(islice(make_stream(seed=seed), 20)) for seed in (1, 1, 2))
    assert all(map(same, first, again))
    assert not all(map(same, first, other))


@pytest.mark.parametrize("start", [1, 7, 13])
def test_a_resumed_stream_goes_on_with_the_very_next_sample(make_stream: MakeStream, start: int) -> None:
    whole = list(islice(make_stream(), 16))
    assert all(map(same, whole[start:], islice(make_stream(first_sample=start), 16 - start)))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_stream(make_stream: MakeStream, workers: int) -> None:
    assert all(map(same, islice(make_stream(workers=workers), 14), islice(make_stream(), 14)))


def test_every_clip_gives_its_share_and_new_ones_come_evenly() -> None:
    stream = numbered()
    names = [stream.take()["name"] for _ in range(400)]
    counts = Counter(names)
    whole = [count for name, count in counts.items() if 5 <= int(name) < 45]  # begun and ended in the stream
    assert set(whole) == {8}
    made = stream.clips.made
    assert len(made) == len(set(made)) <= 400 / 8 + 5
    arrivals = [names.index(str(index)) for index in sorted(set(map(int, names)))[5:]]
    assert max(np.diff(sorted(arrivals))) <= 3 * 8


def test_neighbouring_samples_come_from_different_clips() -> None:
    names = [sample["name"] for sample in islice(numbered(), 200)]
    assert sum(a == b for a, b in pairwise(names)) < 20


def test_processes_that_train_together_share_no_clip() -> None:
    names = [{s["name"] for s in islice(numbered(rank=rank, world=3), 100)} for rank in range(3)]
    assert not names[0] & names[1] and not names[1] & names[2]


def test_the_size_of_samples_may_change_on_the_way() -> None:
    stream = numbered()
    stream.take()
    stream.cut_to(1, 8)
    assert stream.take()["lq"].shape == (3, 1, 8, 8)
    with pytest.raises(OptionError, match="does not fit"):
        stream.cut_to(5, 4)


class Places(Numbered):
    """Clips whose pixels tell row and column of the low-quality pixel that they belong to."""

    def make(self, index: int) -> Clip:
        rows, columns = (torch.arange(8, dtype=torch.uint8).view(shape).expand(4, 8, 8) for shape in ((8, 1), (1, 8)))
        lq = torch.stack([rows, columns, torch.zeros_like(rows)], -1)
        gt = lq.repeat_interleave(4, 1).repeat_interleave(4, 2)
        return Clip(gt=gt, lq=lq, caption="", name=str(index))


def test_crops_may_be_wider_than_high() -> None:
    stream = SampleStream(Places(), num_frames=2, lq_crop=3, lq_width=5, pool_size=2, crops_per_clip=2)
    seen = set()
    for sample in islice(stream, 60):
        lq, gt = sample["lq"], sample["gt"]
        assert lq.shape == (3, 2, 3, 5) and gt.shape == (3, 2, 12, 20)
        assert torch.equal(gt[..., ::4, ::4], lq) and torch.equal(gt[..., 3::4, 3::4], lq)
        rows = lq[0, 0, :, 0].add(1).mul(127.5).round()
        assert rows.diff().abs().eq(1).all()  # rows stay rows
        seen.add((int(lq[0, 0, 0, 0].add(1).mul(127.5).round()), bool(rows[0] > rows[-1])))
    assert len(seen) > 6
    with pytest.raises(OptionError, match="2 frames and 36 px"):
        stream.cut_to(2, 3, 9)


def test_captions_are_dropped_as_often_as_asked() -> None:
    captions = [sample["caption"] for sample in islice(numbered(caption_dropout=0.5), 200)]
    assert 70 < captions.count(None) < 130
    assert all(sample["caption"] == f"clip {sample['name']}" for sample in islice(numbered(), 20))


def test_lq_and_gt_are_cut_and_turned_alike(make_stream: MakeStream) -> None:
    matches, mirrored = [], []
    for sample in islice(make_stream("light", lq_crop=12), 30):
        small = torch.nn.functional.avg_pool2d(sample["gt"].transpose(0, 1), 4).transpose(0, 1)
        for turned, found in ((small, matches), (small.flip(-1), mirrored), (small.flip(-2), mirrored)):
            found.append(np.corrcoef(turned.flatten(), sample["lq"].flatten())[0, 1])
    assert min(matches) > 0.7 and np.mean(matches) > 0.9
    assert np.mean(mirrored) < 0.7


@pytest.mark.parametrize("sizes", [{"lq_crop": 17}, {"num_frames": 5}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="does not fit"):
        numbered(**sizes)


@pytest.fixture(scope="module")
def pairs(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    make_eval_pairs(media / "video", folder, ("light", "heavy"), max_frames=3, max_gt_size=(96, 80))
    return folder


def test_stored_pairs_visit_each_pair_once_a_turn(pairs: Path, tmp_path: Path) -> None:
    source = StoredPairs(pairs, tmp_path, clip_frames=2, gt_size=64, seed=1)
    turns = [[source.make(4 * turn + i)["name"].split("(")[1] for i in range(4)] for turn in range(4)]
    assert all(sorted(turn) == sorted(turns[0]) and len(set(turn)) == 4 for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_stored_pairs_cut_both_alike(pairs: Path, tmp_path: Path) -> None:
    clip = StoredPairs(pairs, tmp_path, clip_frames=2, gt_size=64).make(5)
    assert clip["gt"].shape == (2, 64, 64, 3) and clip["lq"].shape == (2, 16, 16, 3)
    small = torch.nn.functional.avg_pool2d(clip["gt"].permute(0, 3, 1, 2).float(), 4)
    assert np.corrcoef(small.flatten(), clip["lq"].permute(0, 3, 1, 2).flatten())[0, 1] > 0.7


def test_pairs_that_are_too_small_are_named(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are less than 2 of 128x128: lower data\.clip_frames"):
        StoredPairs(pairs, tmp_path, clip_frames=2, gt_size=128).make(0)
