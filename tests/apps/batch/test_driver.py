"""What becomes of clips: done, tried again, given up, gone on with; workers are in this process and die when told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import starvsr
from starvsr.apps.batch.clip_queue import Counts
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.run import default_scratch
from starvsr.apps.batch.settings import Bound
from starvsr.errors import InputNotFoundError, JobError, OptionError, TransferError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.lock import JobLock
from tests.apps.batch.conftest import Batch
from tests.jobs.interrupting import sha256_of
from tests.support.inline_engine import Died

OUTPUTS = ("a_x2.mp4", "b_x2.mkv", "sub/long_x2.mp4")


@pytest.fixture(scope="session")
def expected(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what `upscale` makes of the clips, one by one."""
    folder = tmp_path_factory.mktemp("expected")
    digests = {}
    for source, output in zip(("a.mp4", "b.mkv", "sub/long.mp4"), OUTPUTS, strict=True):
        out = folder / Path(output).name
        starvsr.upscale(videos / source, out, model="bicubic", scale=2, threads=1)
        digests[output] = sha256_of(out)
    return digests


def record(out: Path, output: str) -> dict[str, Any]:
    return json.loads((out / "_batch/clips" / f"{output}.json").read_bytes())


def numbers(counts: Counts) -> tuple[int, int, int]:
    return counts.done, counts.waiting, counts.failed


def test_a_folder_becomes_what_upscale_makes_of_each_clip(
    videos: Path, tmp_path: Path, batch: Batch, expected: dict[str, str]
) -> None:
    assert numbers(batch(videos, tmp_path / "out")) == (3, 0, 0)
    for output in OUTPUTS:
        assert sha256_of(tmp_path / "out" / output) == expected[output]
        found = record(tmp_path / "out", output)
        assert (found["state"], found["tries"], found["error"]) == ("done", 1, None)
        assert found["sha256"] == expected[output]
        assert found["num_frames"] == (36 if "long" in output else 4)
        assert set(found["seconds"]) == {"fetch", "upscale", "deliver"}
    assert json.loads((tmp_path / "out/_batch/summary.json").read_bytes())["done"] == 3
    rows = [json.loads(line) for line in (tmp_path / "out/_batch/clips.jsonl").read_text().splitlines()]
    assert [(row["output"], row["state"]) for row in rows] == [(output, "done") for output in OUTPUTS]
    assert not list(default_scratch(Location.of(tmp_path / "out")).iterdir())


def test_a_second_run_finds_nothing_to_do(videos: Path, tmp_path: Path, batch: Batch) -> None:
    batch(videos, tmp_path / "out")
    before = {output: (tmp_path / "out" / output).stat().st_mtime_ns for output in OUTPUTS}
    assert numbers(batch(videos, tmp_path / "out")) == (3, 0, 0)
    assert batch.orders == []
    assert before == {output: (tmp_path / "out" / output).stat().st_mtime_ns for output in OUTPUTS}
    assert batch.told == ["3 clips: 3 done, 0 to do, 0 failed before"]


def test_a_long_clip_is_made_in_shares_by_several_workers(
    videos: Path, tmp_path: Path, batch: Batch, expected: dict[str, str]
) -> None:
    assert numbers(batch(videos, tmp_path / "out", share_seconds=3, engine={"num_workers": 3})) == (3, 0, 0)
    operations = [operation for operation, output in batch.orders if "long" in output]
    assert operations[0] == "clip"
    assert operations[-1] == "join"
    assert operations.count("share") >= 2
    assert batch.engine is not None and batch.engine.most_under_way == 3
    assert sha256_of(tmp_path / "out" / OUTPUTS[2]) == expected[OUTPUTS[2]]


def test_a_clip_is_planned_while_shares_of_the_one_before_are_left(
    videos: Path, tmp_path: Path, batch: Batch, expected: dict[str, str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcd":
        shutil.copyfile(videos / "sub" / "long.mp4", folder / f"{name}.mp4")
    assert numbers(batch(folder, tmp_path / "out", share_seconds=2, engine={"num_workers": 2})) == (4, 0, 0)
    for before, clip in ["bc", "cd"]:
        planned = batch.orders.index(("clip", f"{clip}_x2.mp4"))
        shares = [n for n, order in enumerate(batch.orders) if order == ("share", f"{before}_x2.mp4")]
        assert shares[0] < planned < shares[-1]
    assert {sha256_of(tmp_path / "out" / f"{name}_x2.mp4") for name in "abcd"} == {expected[OUTPUTS[2]]}
    # one worker alone never waits for a plan: it ends what it has begun
    batch(folder, tmp_path / "alone", share_seconds=2)
    assert [name for _, name in batch.orders] == sorted(name for _, name in batch.orders)


def test_shares_stay_with_one_kind_of_device(videos: Path, tmp_path: Path, batch: Batch) -> None:
    batch(videos, tmp_path / "out", share_seconds=3, engine={"kinds": ("one", "other")})
    assert batch.engine is not None
    kinds = {order["kind"] for order in batch.engine.orders if "long" in order["clip"]["output"]}
    assert len(kinds) == 1


def test_a_damaged_clip_is_given_up_after_three_tries_and_the_others_are_done(
    videos: Path, tmp_path: Path, batch: Batch
) -> None:
    folder = shutil.copytree(videos, tmp_path / "in")
    (folder / "bad.mp4").write_bytes((folder / "a.mp4").read_bytes()[:100])
    assert numbers(batch(folder, tmp_path / "out")) == (3, 0, 1)
    found = record(tmp_path / "out", "bad_x2.mp4")
    assert (found["state"], found["tries"]) == ("failed", 3)
    assert "bad.mp4" in found["error"]
    assert any(text.startswith("failed: bad_x2.mp4") for text in batch.told)
    # it stays given up, until it is asked for again
    assert numbers(batch(folder, tmp_path / "out")) == (3, 0, 1)
    shutil.copyfile(folder / "a.mp4", folder / "bad.mp4")
    assert numbers(batch(folder, tmp_path / "out", retry_failed=True)) == (4, 0, 0)
    assert batch.orders == [("clip", "bad_x2.mp4")]
    assert record(tmp_path / "out", "bad_x2.mp4")["error"] is None


def test_tries_are_counted_over_runs(videos: Path, tmp_path: Path, batch: Batch) -> None:
    def stop_at_second(order: dict[str, Any]) -> dict[str, Any]:
        if order["tries"] == 1:
            raise KeyboardInterrupt
        return {"kind": "failed", "message": "no", "is_final": False, "is_transfer": False}

    with pytest.raises(KeyboardInterrupt):
        batch(videos / "a.mp4", tmp_path / "out", before=stop_at_second)
    assert record(tmp_path / "out", OUTPUTS[0])["tries"] == 1
    assert record(tmp_path / "out", OUTPUTS[0])["state"] == "waiting"
    batch(videos / "a.mp4", tmp_path / "out")
    assert record(tmp_path / "out", OUTPUTS[0])["tries"] == 2


@pytest.mark.parametrize("takes_machine", [False, True])
def test_a_worker_that_always_dies_with_a_clip(videos: Path, tmp_path: Path, batch: Batch, takes_machine: bool) -> None:
    def die(order: dict[str, Any]) -> None:
        if order["clip"]["output"] == OUTPUTS[0]:
            raise Died

    counts = batch(videos, tmp_path / "out", before=die, engine={"takes_machine": takes_machine})
    assert numbers(counts) == (2, 0, 1)
    assert batch.orders.count(("clip", OUTPUTS[0])) == (12 if takes_machine else 3)
    assert "memory" in record(tmp_path / "out", OUTPUTS[0])["error"]


@pytest.mark.parametrize("takes_machine", [False, True])
def test_a_share_that_dies_with_its_worker_is_made_again(
    videos: Path, tmp_path: Path, batch: Batch, expected: dict[str, str], takes_machine: bool
) -> None:
    deaths = []

    def die_once(order: dict[str, Any]) -> None:
        if order["op"] == "share" and not deaths:
            deaths.append(order)
            raise Died

    counts = batch(videos, tmp_path / "out", before=die_once, share_seconds=3, engine={"takes_machine": takes_machine})
    assert numbers(counts) == (3, 0, 0)
    assert len(deaths) == 1
    assert sha256_of(tmp_path / "out" / OUTPUTS[2]) == expected[OUTPUTS[2]]


def test_a_kill_between_delivery_and_its_receipt_loses_nothing(
    videos: Path, tmp_path: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result lies in the destination, and what says so was never written: it is known by its digest."""
    from starvsr.apps.batch.locations import Location as Place

    create = Place.create

    def killed(self: Place, *words: Any, **details: Any) -> None:
        create(self, *words, **details)
        if self.name == OUTPUTS[0]:
            monkeypatch.setattr(Place, "create", create)
            raise Died

    monkeypatch.setattr(Place, "create", killed)
    assert numbers(batch(videos / "a.mp4", tmp_path / "out")) == (1, 0, 0)
    assert batch.orders == [("clip", OUTPUTS[0])] * 2
    shutil.rmtree(default_scratch(Location.of(tmp_path / "out")))
    assert record(tmp_path / "out", OUTPUTS[0])["state"] == "done"


def test_another_file_is_never_overwritten_unless_asked(videos: Path, tmp_path: Path, batch: Batch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / OUTPUTS[0]).write_text("precious")
    assert numbers(batch(videos / "a.mp4", out)) == (0, 0, 1)
    assert batch.orders == [("clip", OUTPUTS[0])]  # trying again would change nothing
    assert (out / OUTPUTS[0]).read_text() == "precious"
    assert "--overwrite" in record(out, OUTPUTS[0])["error"]
    options = UpscaleOptions(model="bicubic", scale=2, threads=1, overwrite=True)
    assert numbers(batch(videos / "a.mp4", out, options=options, retry_failed=True)) == (1, 0, 0)
    assert sha256_of(out / OUTPUTS[0]) == record(out, OUTPUTS[0])["sha256"]


def test_other_options_for_a_finished_clip_are_told_and_replace_nothing(
    videos: Path, tmp_path: Path, batch: Batch
) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"input": str(videos / "a.mp4"), "output": "o.mp4"}))
    batch(manifest, tmp_path / "out")
    before = sha256_of(tmp_path / "out/o.mp4")
    other = UpscaleOptions(model="bicubic", scale=3, threads=1)
    assert numbers(batch(manifest, tmp_path / "out", options=other)) == (0, 0, 1)
    assert sha256_of(tmp_path / "out/o.mp4") == before


def test_clips_have_options_of_their_own(videos: Path, tmp_path: Path, batch: Batch) -> None:
    manifest = tmp_path / "m.jsonl"
    lines = [{"input": str(videos / "a.mp4"), "output": "three.mp4", "scale": 3, "crf": 30, "preset": None}]
    lines += [{"input": str(videos / "a.mp4"), "output": "tall.mp4", "height": 40}]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    batch(manifest, tmp_path / "out")
    assert [record(tmp_path / "out", name)["width"] for name in ("three.mp4", "tall.mp4")] == [48, 40]
    starvsr.upscale(videos / "a.mp4", tmp_path / "alone.mp4", model="bicubic", scale=3, crf=30, threads=1)
    assert sha256_of(tmp_path / "alone.mp4") == record(tmp_path / "out", "three.mp4")["sha256"]


def test_clips_beyond_a_bound_are_marked_for_review(videos: Path, tmp_path: Path, batch: Batch) -> None:
    bounds = (Bound("consistency_lq_db", 1000.0, "min"), Bound("added_detail_lq", 1000.0, "max"))
    counts = batch(videos / "a.mp4", tmp_path / "out", bounds=bounds)
    assert (counts.done, counts.review) == (1, 1)
    found = record(tmp_path / "out", OUTPUTS[0])
    assert set(found["figures"]) == {"consistency_lq_db", "added_detail_lq"}
    assert len(found["review"]) == 1
    assert "consistency_lq_db is" in found["review"][0]
    # a later run still counts it
    assert batch(videos / "a.mp4", tmp_path / "out", bounds=bounds).review == 1


def test_a_store_that_is_gone_ends_the_batch_and_counts_against_few_clips(
    tmp_path: Path, videos: Path, batch: Batch
) -> None:
    manifest = tmp_path / "m.jsonl"
    lines = [json.dumps({"input": str(videos / "a.mp4"), "output": f"{number}.mp4"}) for number in range(30)]
    manifest.write_text("\n".join(lines))

    def gone(order: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "failed", "message": "no connection", "is_final": False, "is_transfer": True}

    with pytest.raises(TransferError, match="20 transfers in a row"):
        batch(manifest, tmp_path / "out", before=gone)
    summary = json.loads((tmp_path / "out/_batch/summary.json").read_bytes())
    assert (summary["failed"], summary["left"]) == (0, 30)
    assert numbers(batch(manifest, tmp_path / "out")) == (30, 0, 0)


def test_an_input_that_changed_since_is_begun_anew(
    videos: Path, tmp_path: Path, batch: Batch, expected: dict[str, str]
) -> None:
    folder = shutil.copytree(videos / "sub", tmp_path / "in")

    def interrupt(order: dict[str, Any]) -> None:
        if order["op"] == "join":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(folder, tmp_path / "out", before=interrupt, share_seconds=3)
    shutil.copyfile(videos / "a.mp4", folder / "long.mp4")
    assert numbers(batch(folder, tmp_path / "out", share_seconds=3)) == (1, 0, 0)
    assert sha256_of(tmp_path / "out/long_x2.mp4") == expected["a_x2.mp4"]


def test_an_interrupted_clip_goes_on_with_its_finished_shares(videos: Path, tmp_path: Path, batch: Batch) -> None:
    def interrupt(order: dict[str, Any]) -> None:
        if order["op"] == "share" and order["share"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(videos / "sub", tmp_path / "out", before=interrupt, share_seconds=3)
    batch(videos / "sub", tmp_path / "out", share_seconds=3)
    assert batch.engine is not None
    assert 0 not in [order.get("share") for order in batch.engine.orders]
    assert record(tmp_path / "out", "long_x2.mp4")["tries"] == 1  # an interruption is no try


def test_a_second_driver_is_refused(videos: Path, tmp_path: Path, batch: Batch) -> None:
    (tmp_path / "out/_batch").mkdir(parents=True)
    lock = JobLock(tmp_path / "out/_batch/lock")
    try:
        with pytest.raises(JobError, match="another process"):
            batch(videos, tmp_path / "out")
    finally:
        lock.release()


def test_what_is_wrong_is_told_before_a_worker_starts(videos: Path, tmp_path: Path, batch: Batch) -> None:
    with pytest.raises(InputNotFoundError, match="no such manifest or folder"):
        batch(tmp_path / "none", tmp_path / "out")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"input": str(videos / "a.mp4"), "output": "o.mp4", "codec": "nothing"}))
    with pytest.raises(OptionError, match="nothing"):
        batch(manifest, tmp_path / "out")
    assert batch.engine is None
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file"):
        batch(videos, tmp_path / "file")


def test_a_dry_run_writes_nothing_but_its_trial(videos: Path, tmp_path: Path, batch: Batch) -> None:
    assert numbers(batch(videos, tmp_path / "out", dry_run=True)) == (0, 3, 0)
    assert batch.engine is None
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
