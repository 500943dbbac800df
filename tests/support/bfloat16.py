"""Tests that compute in bfloat16 on the CPU."""

from __future__ import annotations

import pytest

from starvsr.families.precision import fails_in_bfloat16

needs_bfloat16 = pytest.mark.skipif(
    fails_in_bfloat16(),
    reason="fails in PyTorch: ATEN_CPU_CAPABILITY forbids what oneDNN uses (refused with a word)",
)
