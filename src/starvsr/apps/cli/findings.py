"""What commands that score say beside their tables: what is odd about clips, and what could not be computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starvsr.apps.cli.terminal import remark

if TYPE_CHECKING:
    from starvsr.evaluation.record import Report


def tell_findings(report: Report, *, quiet: bool, metrics: Sequence[str] | None) -> None:
    """Say on stderr what is odd and what is missing.

    Args:
        report: what was scored.
        quiet: say only which of the metrics that were asked for by name are missing: a table without them would drop
            them silently.
        metrics: asked for; None for the usual ones.
    """
    named = metrics is not None and list(metrics) != ["all"]
    if not quiet:
        for line in report.warnings():
            remark(f"note: {line}")
    if named or not quiet:
        for line in report.absences():
            remark(f"missing: {line}")
