from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from starvsr.data.pool import DegradedPool
from starvsr.data.synthetic import SharpSource
from starvsr.errors import OptionError

MakePool = Callable[..., DegradedPool]


@pytest.fixture(scope="module")
def make_pool(media: Path, tmp_path_factory: pytest.TempPathFactory) -> MakePool:
    source = SharpSource(media / "video", media / "image", tmp_path_factory.mktemp("cache"))
    sizes = {"num_frames": 3, "lq_crop": 8, "clip_frames": 4, "gt_size": 64, "pool_size": 3, "crops_per_clip": 4}

    def make(recipe: str = "mixed", **options: Any) -> DegradedPool:
        return DegradedPool(source, recipe, **{**sizes, **options})

    return make


def test_samples_have_shape_type_and_range(make_pool: MakePool) -> None:
    for sample in islice(make_pool(), 12):
        assert sample["lq"].shape == (3, 3, 8, 8) and sample["gt"].shape == (3, 3, 32, 32)
        for name in ("lq", "gt"):
            assert sample[name].dtype == torch.float32 and sample[name].is_contiguous()
            assert sample[name].min() >= -1 and sample[name].max() <= 1


def test_the_stream_repeats_for_a_seed_and_differs_for_others(make_pool: MakePool) -> None:
    first, again, other = (list(islice(make_pool(seed=seed), 20)) for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for a, b in zip(first, again, strict=True) for k in a)
    assert not all(torch.equal(a["lq"], b["lq"]) for a, b in zip(first, other, strict=True))


def test_lq_and_gt_are_cut_and_turned_alike(make_pool: MakePool) -> None:
    matches, mirrored = [], []
    for sample in islice(make_pool("light", lq_crop=12), 30):
        small = torch.nn.functional.avg_pool2d(sample["gt"].transpose(0, 1), 4).transpose(0, 1)
        for turned, found in ((small, matches), (small.flip(-1), mirrored), (small.flip(-2), mirrored)):
            found.append(np.corrcoef(turned.flatten(), sample["lq"].flatten())[0, 1])
    assert min(matches) > 0.7 and np.mean(matches) > 0.9
    assert np.mean(mirrored) < 0.7


def test_clips_are_replaced_after_their_share(make_pool: MakePool) -> None:
    pool = make_pool()
    made: list[int] = []
    original = pool.make_clip

    def counted(index: int) -> tuple[np.ndarray, np.ndarray]:
        made.append(index)
        return original(index)

    pool.make_clip = counted  # type: ignore[method-assign]
    for _ in islice(pool, 40):
        pass
    assert made == list(range(len(made)))
    assert 40 / 4 <= len(made) <= 40 / 4 + 3


def test_a_resumed_run_goes_on_with_new_clips(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.clips_for(40) == 13
    resumed = make_pool(first_clip=pool.clips_for(40))
    assert not torch.equal(next(iter(pool))["gt"], next(iter(resumed))["gt"])


def test_one_worker_process_gives_the_same_stream(make_pool: MakePool) -> None:
    loader = DataLoader(make_pool(), batch_size=None, num_workers=1)
    for inside, outside in zip(islice(loader, 5), islice(make_pool(), 5), strict=True):
        assert torch.equal(inside["lq"], outside["lq"])


@pytest.mark.parametrize("sizes", [{"gt_size": 62}, {"lq_crop": 17}, {"num_frames": 5}])
def test_sizes_that_do_not_fit_are_refused(make_pool: MakePool, sizes: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="does not fit"):
        make_pool(**sizes)
