"""Blind comparison: which two results are shown in which order, and what the votes on them say."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from starvsr.errors import DataError, OptionError

QUIRKS = {"a": "A", "b": "B", "=": "="}
"""What a voter may write, and what it means: the left one, the right one, no difference."""


@dataclass(frozen=True)
class Trial:
    """One question: which of two results of a clip looks better."""

    number: int
    clip: str
    first: str
    """Method shown as A, on the left."""
    second: str
    """Method shown as B."""
    repeat: bool = False
    """Shown once more with the sides exchanged: tells how steady a voter is, and counts for nothing else."""

    @property
    def pair(self) -> tuple[str, str]:
        """The two methods in alphabetical order, whatever side they are on."""
        return (self.first, self.second) if self.first < self.second else (self.second, self.first)

    def winner(self, choice: str) -> str | None:
        """Return the method that a choice is for; None for no difference."""
        return {"A": self.first, "B": self.second, "=": None}[choice]


@dataclass(frozen=True)
class Count:
    """Votes on two methods.

    Attributes:
        one: name of the first method.
        other: name of the second.
        wins: votes for the first.
        losses: votes for the second.
        ties: votes for neither.
        clips: on how many clips more votes went to the first, to the second, and to both alike.
    """

    one: str
    other: str
    wins: int
    losses: int
    ties: int
    clips: tuple[int, int, int]

    def chance(self) -> float:
        """Return the probability of an outcome at least as uneven if neither were better (two-sided sign test)."""
        decided, larger = self.wins + self.losses, max(self.wins, self.losses)
        tail = sum(math.comb(decided, k) for k in range(larger, decided + 1))
        return min(1.0, 2 * tail / 2**decided)


def draw_trials(
    clips: Sequence[str],
    methods: Sequence[str],
    *,
    seed: int,
    against: str | None = None,
    repeats: int = 0,
) -> list[Trial]:
    """Draw the trials: every pair of methods on every clip, in random order and on random sides.

    Each pair of methods is left-right balanced over the clips (to one), so that a voter who prefers a side cannot
    decide it.

    Args:
        clips: names of the clips.
        methods: names of the methods, at least two.
        seed: of the order.
        against: only pairs with this method; None compares all with all.
        repeats: trials shown once more with the sides exchanged, to see how steady a voter is.

    Raises:
        OptionError: fewer than two methods, an unknown one, no clips, or more repeats than trials.
    """
    if len(set(methods)) < 2 or not clips:
        raise OptionError("a comparison needs at least two methods and one clip")
    if against is not None and against not in methods:
        raise OptionError(f"unknown method {against!r}: choose from {', '.join(methods)}")
    rng = np.random.default_rng(seed)
    pairs = [p for p in combinations(sorted(set(methods)), 2) if against is None or against in p]
    shown: list[tuple[str, str, str, bool]] = []
    for one, other in pairs:
        sides = rng.permutation(np.arange(len(clips)) % 2 == rng.integers(2))
        for clip, left in zip(clips, sides, strict=True):
            shown.append((clip, one, other, False) if left else (clip, other, one, False))
    if not 0 <= repeats <= len(shown):
        raise OptionError(f"repeats must be 0 to {len(shown)}, the number of trials, not {repeats}")
    again = [shown[i] for i in rng.choice(len(shown), repeats, replace=False)] if repeats else []
    shown += [(clip, second, first, True) for clip, first, second, _ in again]
    order = rng.permutation(len(shown))
    return [Trial(number, *shown[index]) for number, index in enumerate(order, 1)]


def write_key(path: Path, trials: Iterable[Trial], facts: Mapping[str, object]) -> None:
    """Write what was shown where, with facts about how the sheets were made."""
    tree = {**facts, "trials": [dataclasses.asdict(trial) for trial in trials]}
    path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def read_key(path: Path) -> dict[int, Trial]:
    """Read trials by number.

    Raises:
        DataError: the file is missing or is no key.
    """
    try:
        trials = [Trial(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["trials"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no key of `python -m benchmarks.blind_sheets make` ({error!r})") from error
    return {trial.number: trial for trial in trials}


def read_votes(path: Path, trials: Mapping[int, Trial]) -> dict[int, str]:
    """Read votes by number from a CSV with columns ``number`` and ``choice`` (A, B or =); empty choices are left out.

    Raises:
        DataError: the file cannot be read, or a line names no trial, names one twice or makes no valid choice.
    """
    votes: dict[int, str] = {}
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            rows = [(row["number"], row["choice"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table of votes with columns number and choice ({error!r})") from error
    for line, (number, choice) in enumerate(rows, 2):
        word = (choice or "").strip().lower()
        if not word:
            continue
        where = f"{path}, line {line}"
        if not (number or "").strip().isdigit() or int(number) not in trials:
            raise DataError(f"{where}: there is no sheet {number!r}; numbers go from 1 to {len(trials)}")
        if int(number) in votes:
            raise DataError(f"{where}: sheet {number} is voted on twice; one line a sheet")
        if word not in QUIRKS:
            raise DataError(f"{where}: {choice!r} is no choice; write A (left), B (right) or = (no difference)")
        votes[int(number)] = QUIRKS[word]
    return votes


def count_votes(trials: Mapping[int, Trial], ballots: Iterable[Mapping[int, str]]) -> list[Count]:
    """Count the votes of any number of voters, one :class:`Count` a pair of methods that was voted on.

    Repeats are left out: a clip that is shown twice would count twice.
    """
    totals: dict[tuple[str, str], Counter[str | None]] = defaultdict(Counter)
    by_clip: dict[tuple[str, str], dict[str, Counter[str | None]]] = defaultdict(lambda: defaultdict(Counter))
    for ballot in ballots:
        for number, choice in ballot.items():
            trial = trials[number]
            if trial.repeat:
                continue
            winner = trial.winner(choice)
            totals[trial.pair][winner] += 1
            by_clip[trial.pair][trial.clip][winner] += 1
    counts = []
    for (one, other), votes in sorted(totals.items()):
        leads = [clip[one] - clip[other] for clip in by_clip[one, other].values()]
        clips = (sum(lead > 0 for lead in leads), sum(lead < 0 for lead in leads), sum(lead == 0 for lead in leads))
        counts.append(Count(one, other, votes[one], votes[other], votes[None], clips))
    return counts


def steadiness(trials: Mapping[int, Trial], ballots: Iterable[Mapping[int, str]]) -> tuple[int, int]:
    """Return how many repeated trials a voter decided alike both times, and how many there were."""
    same = total = 0
    for ballot in ballots:
        seen: dict[tuple[str, tuple[str, str]], str | None] = {}
        for number, choice in ballot.items():
            trial = trials[number]
            place, winner = (trial.clip, trial.pair), trial.winner(choice)
            if place in seen:
                total += 1
                same += seen[place] == winner
            seen[place] = winner
    return same, total


def left_share(ballots: Iterable[Mapping[int, str]]) -> float:
    """Return the share of decided votes that went to the left picture: far from one half, a voter has a side."""
    choices = Counter(choice for ballot in ballots for choice in ballot.values())
    decided = choices["A"] + choices["B"]
    return choices["A"] / decided if decided else math.nan
