"""The file of the plan of segments and parts: written before work begins, checked when a job is resumed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.errors import JobError
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.part_plan import PartPlan
from starvsr.video.write.publish import replace_file

FORMAT = 1


def write_part_plan(folder: JobFolder, plan: PartPlan) -> None:
    """Write the plan; it is on the disk when this returns.

    Raises:
        OSError: The disk is full or gone.
    """
    entries = _entries(plan)
    entries["checksum"] = _checksum(entries)
    lines = [f" {json.dumps(name)}: {_value_text(value)}" for name, value in entries.items()]
    replace_file(folder.part_plan, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_part_plan(folder: JobFolder, chunks: ChunkPlan, part_frames: int) -> PartPlan | None:
    """Read the plan of an unfinished job.

    Args:
        folder: The job's.
        chunks: What segments follow from.
        part_frames: What parts follow from.

    Returns:
        The plan; None when it is missing or damaged, and has to be made once more.

    Raises:
        JobError: It is of another format, or its segments and parts are not those that this version plans.
    """
    try:
        entries = json.loads(folder.part_plan.read_bytes())
        if entries.pop("checksum") != _checksum(entries):  # all formats have one, so damage is no other format
            return None
        version = entries["format"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if version != FORMAT:
        raise JobError(
            f"{folder.part_plan}: the plan of segments and parts has format {version}, and this version of starvsr "
            f"reads format {FORMAT}: finish the job with the version that began it, or give --restart to begin anew"
        )
    try:
        plan = PartPlan.of(entries["num_frames"], entries["cuts"], chunks, part_frames, entries["notes"])
    except (KeyError, TypeError, ValueError):
        return None
    if _entries(plan) != entries:
        raise JobError(
            f"{folder.part_plan}: its segments and parts are not those that this version of starvsr plans: finish the "
            "job with the version that began it, or give --restart to begin anew"
        )
    return plan


def planned_frames(folder: JobFolder) -> int | None:
    """Return the number of frames that a plan tells; None when there is none."""
    try:
        return int(json.loads(folder.part_plan.read_bytes())["num_frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entries(plan: PartPlan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "num_frames": plan.num_frames,
        "cuts": list(plan.cuts),
        "segments": [[s.start, s.stop, s.keep_start, s.keep_stop, s.fade_before, s.fade_after] for s in plan.segments],
        "parts": [[p.start, p.stop, p.first_segment, p.stop_segment] for p in plan.parts],
        "notes": list(plan.notes),
    }


def _value_text(value: Any) -> str:
    """Write each segment and part on a line of its own."""
    if not (isinstance(value, list) and value and isinstance(value[0], list)):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"


def _checksum(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:16]
