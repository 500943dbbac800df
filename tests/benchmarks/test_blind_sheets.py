"""The blind bench: what is shown is what the key says, and votes are counted for the method that stood there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.blind_sheets import count, key_path, main, make
from benchmarks.quality.blind_trials import (
    Trial,
    count_votes,
    draw_trials,
    left_share,
    read_key,
    read_votes,
    steadiness,
)
from starvsr.errors import DataError, OptionError
from starvsr.video.codec_pass import read_clip

METHODS = {"ours": (200, 30, 30), "theirs": (30, 200, 30), "plain": (30, 30, 200)}
CLIPS = ("alley", "bridge", "cat")
SIZE = (48, 64)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A folder of pictures a clip, each method in a colour of its own, so that a sheet tells what it shows."""
    for method, colour in METHODS.items():
        for clip in CLIPS:
            folder = tmp_path / method / clip
            folder.mkdir(parents=True)
            for t in range(3):
                Image.new("RGB", SIZE[::-1], colour).save(folder / f"{t}.png")
    return {method: tmp_path / method for method in METHODS}


def _colours(path: Path) -> list[str]:
    """Tell which methods a sheet shows, from left to right."""
    with Image.open(path) as picture:
        row = np.asarray(picture)[18 + 18 + SIZE[0] // 2]
    seen = [name for pixel in row.tolist() for name, colour in METHODS.items() if tuple(pixel) == colour]
    return list(dict.fromkeys(seen))


def test_sheets_and_clips_show_what_the_key_says(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "blind"
    trials = make(out, folders, seed=3)
    assert [trial.number for trial in trials] == list(range(1, 10))
    key = read_key(key_path(out))
    assert key == {trial.number: trial for trial in trials}
    for number, trial in key.items():
        assert _colours(out / "sheets" / f"{number:03d}.png") == [trial.first, trial.second]
        clip = read_clip(out / "clips" / f"{number:03d}.mp4")
        assert len(clip) == 3
        middle = clip[1, SIZE[0] // 2].astype(int)
        for method, column in ((trial.first, 0.25), (trial.second, 0.75)):
            place = middle[clip.shape[2] // 2 + (-40 if column < 0.5 else 40)]
            assert np.abs(place - METHODS[method]).max() < 30
    lines = (out / "votes.csv").read_text().splitlines()
    assert lines[0] == "number,choice" and lines[1] == "1," and len(lines) == 10


def test_the_folder_given_away_names_no_method(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "blind"
    make(out, folders)
    for path in out.rglob("*"):
        assert not any(method in path.name for method in METHODS)
        if path.is_file():
            data = path.read_bytes()
            assert not any(method.encode() in data for method in METHODS), path
    assert key_path(out).parent == out.parent


def test_another_seed_is_another_order_and_the_same_one_the_same() -> None:
    one, again, other = (draw_trials(CLIPS, list(METHODS), seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert {(t.clip, t.pair) for t in one} == {(t.clip, t.pair) for t in other}


def test_sides_are_balanced_and_every_pair_is_shown() -> None:
    clips = [f"c{i}" for i in range(20)]
    trials = draw_trials(clips, ["a", "b", "c"], seed=0)
    assert Counter(t.pair for t in trials) == {("a", "b"): 20, ("a", "c"): 20, ("b", "c"): 20}
    for pair in (("a", "b"), ("a", "c"), ("b", "c")):
        assert sum(t.first == pair[0] for t in trials if t.pair == pair) == 10
    order = [t.clip for t in trials]
    assert order != sorted(order)


def test_against_one_method_and_repeats_with_sides_exchanged() -> None:
    trials = draw_trials(CLIPS, list(METHODS), seed=0, against="ours", repeats=2)
    assert len(trials) == 8 and all("ours" in t.pair for t in trials)
    sides: dict[tuple[str, tuple[str, str]], list[str]] = {}
    for t in trials:
        sides.setdefault((t.clip, t.pair), []).append(t.first)
    twice = [firsts for firsts in sides.values() if len(firsts) == 2]
    assert len(twice) == 2 and all(a != b for a, b in twice)
    assert sum(t.repeat for t in trials) == 2


@pytest.mark.parametrize(
    ("clips", "methods", "options", "message"),
    [
        (CLIPS, ["ours"], {}, "at least two methods"),
        ([], ["ours", "theirs"], {}, "one clip"),
        (CLIPS, ["ours", "theirs"], {"against": "else"}, "unknown method 'else'"),
        (CLIPS, ["ours", "theirs"], {"repeats": 4}, "repeats must be 0 to 3"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(
    clips: list[str], methods: list[str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        draw_trials(clips, methods, seed=0, **options)  # type: ignore[arg-type]


TRIALS = {
    1: Trial(1, "alley", "ours", "theirs"),
    2: Trial(2, "bridge", "theirs", "ours"),
    3: Trial(3, "cat", "ours", "theirs"),
    4: Trial(4, "alley", "theirs", "ours", repeat=True),
}


def test_votes_count_for_the_method_that_stood_there() -> None:
    ballots = [{1: "A", 2: "B", 3: "B"}, {1: "A", 2: "A", 3: "="}]
    (found,) = count_votes(TRIALS, [{**ballots[0], 4: "A"}, ballots[1]])  # the repeat counts for nothing
    assert (found.one, found.other, found.wins, found.losses, found.ties) == ("ours", "theirs", 3, 2, 1)
    assert found.clips == (1, 1, 1)  # alley 2:0, bridge 1:1, cat 0:1
    assert left_share(ballots) == 3 / 5


def test_chance_is_the_two_sided_sign_test() -> None:
    (even,) = count_votes(TRIALS, [{1: "A", 2: "A"}])
    assert even.chance() == 1
    (clear,) = count_votes(TRIALS, [{1: "A", 2: "B", 3: "A"}] * 3)
    assert clear.chance() == pytest.approx(2 / 2**9)


def test_repeats_tell_how_steady_a_voter_is() -> None:
    assert steadiness(TRIALS, [{1: "A", 4: "B"}, {1: "A", 4: "A"}, {1: "=", 4: "="}, {2: "A"}]) == (2, 3)


def test_the_table_names_the_preferred_method_first(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "blind"
    trials = make(out, folders, against="theirs", repeats=1)
    lines = ["number,choice"]
    lines += [f"{t.number},{'a' if t.first == 'theirs' else 'B '}" for t in trials if t.clip != "cat"]
    lines += [f"{t.number},=" for t in trials if t.clip == "cat"]
    (out / "votes.csv").write_text("\n".join(lines))
    table = count(out, [out / "votes.csv"])
    assert "| theirs | ours |" in table and "| theirs | plain |" in table
    assert "2 : 0, 1 even" in table and "decided alike: 1 of 1" in table and "7 votes of 1 voter on 7 sheets" in table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,choice\n9,A\n", "line 2: there is no sheet '9'; numbers go from 1 to 4"),
        ("number,choice\n1,A\n1,B\n", "line 3: sheet 1 is voted on twice"),
        ("number,choice\n1,left\n", "'left' is no choice"),
        ("a,b\n1,A\n", "no table of votes"),
    ],
)
def test_faulty_votes_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_votes(file, TRIALS)


def test_no_votes_no_key_no_clip(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "blind"
    make(out, folders)
    with pytest.raises(DataError, match="no votes in"):
        count(out, [out / "votes.csv"])
    with pytest.raises(DataError, match="no key"):
        count(tmp_path / "other", [out / "votes.csv"])
    with pytest.raises(OptionError, match="is not empty"):
        make(out, folders)
    (folders["ours"] / "dog").mkdir()
    Image.new("RGB", SIZE[::-1]).save(folders["ours"] / "dog" / "0.png")
    with pytest.raises(DataError, match="not every folder has dog"):
        make(tmp_path / "more", folders)


def test_results_of_other_size_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for path in (folders["ours"] / "cat").iterdir():
        Image.new("RGB", (32, 32)).save(path)
    with pytest.raises(DataError, match=r"cat: ours and (plain|theirs) differ in size"):
        make(tmp_path / "blind", folders, against="ours")


def test_input_and_ground_truth_are_shown_on_demand(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, size in (("gt", SIZE), ("lq", (SIZE[0] // 4, SIZE[1] // 4))):
        for clip in CLIPS:
            folder = tmp_path / name / clip
            folder.mkdir(parents=True)
            for t in range(3):
                Image.new("RGB", size[::-1], (250, 250, 250)).save(folder / f"{t}.png")
    widths = []
    for number, more in enumerate(([], ["--lq", "lq"], ["--lq", "lq", "--gt", "gt", "--show-gt"])):
        words = [str(tmp_path / word) if word in ("lq", "gt") else word for word in more]
        out = tmp_path / f"blind{number}"
        main(["make", str(out), *(f"--results={n}={folders[n]}" for n in ("ours", "theirs")), *words])
        with Image.open(out / "sheets" / "001.png") as picture:
            widths.append(picture.width)
        assert json.loads(key_path(out).read_text())["seed"] == 0
    step = widths[1] - widths[0]
    assert step > SIZE[1] and widths[2] - widths[1] == step
