"""Stands for spandrel where a page needs its networks: what starvsr calls of it. Every network enlarges by four."""

from __future__ import annotations

import torch

SCALE = 4


class _Network(torch.nn.Module):
    input_channels = output_channels = 3
    scale = SCALE

    def forward(self, pictures):
        return pictures.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)


class ModelLoader:
    def __init__(self, device):
        assert device == "cpu"

    def load_from_file(self, path):
        return _Network()
