"""The file of a job's manifest, for people and for the next run; its entries have no meaning here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from starvsr.jobs.folder import JobFolder
from starvsr.video.write.publish import replace_file

Plan = dict[str, Any]


def write_plan(folder: JobFolder, plan: Plan) -> None:
    """Write the plan, with a checksum of itself.

    Raises:
        OSError: The disk is full or gone.
    """
    text = json.dumps({**plan, "checksum": _checksum(plan)}, indent=2, ensure_ascii=False)
    replace_file(folder.plan, text.encode("utf-8", "surrogatepass"))  # names of files need not be text


def read_plan(folder: JobFolder) -> Plan | None:
    """Read the plan; None when it is missing or not as it was written."""
    try:
        plan = json.loads(folder.plan.read_bytes())
        checksum = plan.pop("checksum")
    except (OSError, ValueError, AttributeError, KeyError):
        return None
    return plan if checksum == _checksum(plan) else None


def read_cut(folder: JobFolder) -> dict[str, Any] | None:
    """Read how an unfinished job cuts its input; None when there is no such job."""
    plan = read_plan(folder)
    cut = None if plan is None else plan.get("cut")
    return cut if isinstance(cut, dict) else None


def _checksum(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def output_of(folder: JobFolder, plan: Plan) -> Path:
    """Return the output that a job makes."""
    return folder.path.parent / str(plan["output"])
