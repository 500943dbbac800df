"""How long a job will take, from what jobs took before: a preview of two seconds tells the time of the whole."""

from __future__ import annotations

from typing import Any

from starvsr.apps.server.records import JobRecord

_PARTS = frozenset({"start", "duration", "seed", "prompt", "crf", "detail"})
"""Options that change how much is done, or what, but not how long a pixel takes."""


def estimated_seconds(job: JobRecord, done: list[JobRecord]) -> float | None:
    """Return the seconds that a worker will need for a job; None where nothing like it was done yet.

    Args:
        job: A job whose input was looked at.
        done: Finished jobs, oldest first; the last one with the same settings counts, else the last of its model.
    """
    pixels = _pixels(job)
    like = [one for one in done if one.options.get("model") == job.options.get("model") and _seconds_per_pixel(one)]
    same = [one for one in like if _settings(one) == _settings(job)]
    if pixels is None or not like:
        return None
    rate = _seconds_per_pixel((same or like)[-1])
    return None if rate is None else rate * pixels


def _settings(job: JobRecord) -> dict[str, Any]:
    return {name: value for name, value in job.options.items() if name not in _PARTS}


def _pixels(job: JobRecord) -> float | None:
    """Input pixels of the frames of a job that is to be done."""
    facts = job.facts
    frames = facts.get("num_frames")
    if not frames:
        return None
    if facts.get("duration"):
        left = max(0.0, facts["duration"] - (job.options.get("start") or 0.0))
        frames *= min(left, job.options.get("duration") or left) / facts["duration"]
    return float(max(1.0, frames) * facts["width"] * facts["height"])


def _seconds_per_pixel(job: JobRecord) -> float | None:
    """Seconds of a finished job for each input pixel of the frames that were made in its last run."""
    made = job.result.get("num_frames", 0) - job.result.get("num_kept", 0)
    seconds = job.result.get("seconds")
    if not seconds or made < 1 or not job.facts:
        return None
    return float(seconds / (made * job.facts["width"] * job.facts["height"]))
