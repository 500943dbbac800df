from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.metrics import synthetic_clips


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("golden").joinpath("metrics.json").read_text())


@pytest.fixture(scope="session")
def reference(golden: dict[str, Any]) -> np.ndarray:
    clip = synthetic_clips.reference()
    assert synthetic_clips.sha256(clip) == golden["reference_sha256"]
    return clip
