"""A template for ILNIQE by a formula, as the published one is laid out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from starvsr.metrics.ilniqe import Template

FEATURES, COMPONENTS = 468, 60


def template() -> Template:
    n, k = np.ogrid[:FEATURES, :COMPONENTS]
    components = np.sin(0.7 * n + 1.9 * k + 0.3 + 0.01 * n * k) / 21.6
    mixing = np.sin(0.37 * np.arange(COMPONENTS)[:, None] + 1.1 * np.arange(COMPONENTS))
    return Template(
        mean=5 * np.sin(0.9 * np.arange(COMPONENTS)),
        covariance=mixing @ mixing.T + 50 * np.eye(COMPONENTS),
        sample_mean=3 + 2 * np.cos(0.5 * np.arange(FEATURES)),
        components=components,
    )


def write_template(path: Path) -> None:
    made = template()
    cell = np.empty((1, 4), object)
    cell[0, :] = [made.mean[:, None].T, made.covariance, made.sample_mean[:, None], made.components]
    savemat(path, {"templateModel": cell})
