"""The list of metrics: names, what cannot be computed here, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from starvsr.errors import OptionError, WeightsError
from starvsr.metrics.fidelity import PSNR_RGB, SSIM_Y
from starvsr.metrics.registry import METRICS, available, choose_metrics


def test_names_are_unique_and_every_metric_states_its_protocol():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(metric.protocol and not metric.name.startswith("-") for metric in METRICS)
    with pytest.raises(OptionError, match="unknown metric 'psnr': choose from psnr_y_db"):
        choose_metrics(["psnr"])
    with pytest.raises(OptionError, match="asked for twice"):
        choose_metrics(["psnr_y_db", "psnr_y_db"])


def test_what_is_missing_is_named_with_its_reason_and_the_rest_goes_on():
    def refuse() -> None:
        raise WeightsError("its weights are not here: pip install them")

    absent = replace(SSIM_Y, name="absent", requires=refuse)
    found = available([PSNR_RGB, absent, "psnr_y_db"])
    assert [metric.name for metric in found.usable] == ["psnr_rgb_db", "psnr_y_db"]
    assert found.missing == {"absent": "its weights are not here: pip install them"}
