"""Stands for ncnn where a page needs its networks: what starvsr calls of it. Every network enlarges by four."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

SCALE = 4


class Mat:
    def __init__(self, planes):
        self.planes = planes

    def clone(self):
        return Mat(self.planes.copy())

    def __array__(self, dtype=None, copy=None):
        return self.planes if dtype is None else self.planes.astype(dtype)


class Extractor:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def input(self, name, mat):
        assert name == "data" and mat.planes.dtype == np.float32 and 0 <= mat.planes.min() <= mat.planes.max() <= 1
        self._planes = mat.planes

    def extract(self, name):
        assert name == "output"
        return 0, Mat(self._planes.repeat(SCALE, 1).repeat(SCALE, 2))


class Net:
    def __init__(self):
        self.opt = SimpleNamespace(num_threads=0, use_vulkan_compute=True)

    def load_param(self, path):
        return 0

    load_model = load_param

    def input_names(self):
        return ["data"]

    def output_names(self):
        return ["output"]

    def create_extractor(self):
        assert not self.opt.use_vulkan_compute
        return Extractor()
