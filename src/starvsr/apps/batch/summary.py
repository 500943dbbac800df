"""What a run leaves beside the records: every clip in one file, and the numbers of the whole."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from starvsr.apps.batch.clip_queue import ClipQueue, Counts
from starvsr.apps.batch.clips import RECORDS
from starvsr.apps.batch.locations import Location
from starvsr.video.write.publish import file_sha256


def write_summary(queue: ClipQueue, destination: Location, facts: dict[str, Any]) -> None:
    """Write ``clips.jsonl`` (a line for each clip, in order) and ``summary.json``.

    Args:
        queue: The clips.
        destination: Where they go, into the folder of the records.
        facts: What else the summary tells.

    Raises:
        TransferError, OutputError: They cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix="starvsr-batch-", suffix=".jsonl")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
            for row in queue.rows():
                file.write(json.dumps(row) + "\n")
        destination.join(f"{RECORDS}/clips.jsonl").create(path, file_sha256(path), overwrite=True)
    finally:
        path.unlink()
    counts = queue.counts
    numbers = {
        "total": counts.total,
        "done": counts.done,
        "left": counts.waiting,
        "failed": counts.failed,
        "review": counts.review,
        "num_frames": counts.num_frames,
    }
    destination.join(f"{RECORDS}/summary.json").write_json({**numbers, **facts})


def told(counts: Counts) -> str:
    """Put the numbers into one line: "n done, m left, k failed"."""
    review = f", {counts.review} to review" if counts.review else ""
    return f"{counts.done} done, {counts.waiting} left, {counts.failed} failed{review}"
