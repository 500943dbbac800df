"""Options of single metrics reach them."""

from __future__ import annotations

import pytest

from starvsr.errors import OptionError
from starvsr.evaluation.metric_choice import choose_for


def test_the_draws_of_dover_are_chosen_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starvsr.metrics.dover.metrics._require", lambda name: None)
    names = ["dover", "dover_technical", "dover_aesthetic"]
    usual, _ = choose_for([*names, "psnr_y_db"], has_gt=True, has_lq=False)
    other, _ = choose_for([*names, "psnr_y_db"], has_gt=True, has_lq=False, dover_draws=9)
    assert [metric.name for metric in other] == [*names, "psnr_y_db"]
    assert all("mean of 4 draws" in metric.protocol for metric in usual[:3])
    assert all("mean of 9 draws" in metric.protocol for metric in other[:3])
    assert other[3] is usual[3]
    with pytest.raises(OptionError, match="at least 1 draw"):
        choose_for(names, has_gt=True, has_lq=False, dover_draws=0)
