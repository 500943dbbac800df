"""Deterministic uint8 clips for checking metrics: integer arithmetic only, so equal on every platform.

The golden values were computed on exactly these clips; checksums in golden/metrics.json guard them.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _hash(*coords):
    """Turn broadcastable integer coordinates into pseudo-random uint32 values."""
    value = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for k, coord in enumerate(coords):
            mixed = np.asarray(coord, np.uint32) * np.uint32(2654435761) + np.uint32(k * 40503 + 1)
            value = (value ^ mixed) * np.uint32(16777619)
            value = value ^ (value >> np.uint32(15))
            value = value * np.uint32(2246822519)
            value = value ^ (value >> np.uint32(13))
    return value


def reference(num_frames=5, height=240, width=320, pan=(2, 1)):
    """Make a panning scene: ramps, checkers, discs and smooth noise, moved by `pan` pixels a frame."""
    dx, dy = pan
    tall, wide = height + dy * (num_frames - 1), width + dx * (num_frames - 1)
    y, x = np.arange(tall, dtype=np.int64)[:, None], np.arange(wide, dtype=np.int64)[None, :]
    picture = np.stack([_channel(c, x, y, tall, wide) for c in range(3)], axis=-1)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    return np.stack([picture[dy * k : dy * k + height, dx * k : dx * k + width] for k in range(num_frames)])


def _channel(c, x, y, tall, wide):
    ramp = (x * (40 + 17 * c) // wide) + (y * (60 - 11 * c) // tall)
    checker = np.where(((x // (8 + 3 * c)) + (y // (10 + 2 * c))) % 2 == 0, 30, 0)
    discs = np.zeros((tall, wide), np.int64)
    for i in range(9):
        cx, cy, radius = int(_hash(i, 1) % wide), int(_hash(i, 2) % tall), 12 + int(_hash(i, 3) % 28)
        discs = np.where((x - cx) ** 2 + (y - cy) ** 2 <= radius * radius, int(_hash(i, 4, c) % 120), discs)
    step = 6
    gy, gx, fy, fx = y // step, x // step, y % step, x % step

    def lattice(row, column):
        return (_hash(row, column, c, 77) % np.uint32(64)).astype(np.int64)

    upper = lattice(gy, gx) * (step - fx) + lattice(gy, gx + 1) * fx
    lower = lattice(gy + 1, gx) * (step - fx) + lattice(gy + 1, gx + 1) * fx
    return 30 + ramp + checker + discs + (upper * (step - fy) + lower * fy) // (step * step)


def noise24(clip):
    i = np.indices(clip.shape, dtype=np.int64)
    noise = (_hash(i[0], i[1], i[2], i[3], 5).astype(np.int64) % 49) - 24
    return np.clip(clip.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def box4_nearest(clip):
    t, h, w, c = clip.shape
    sums = clip.reshape(t, h // 4, 4, w // 4, 4, c).astype(np.int64).sum((2, 4))
    means = (sums * 2 + 16) // 32
    return np.repeat(np.repeat(means.astype(np.uint8), 4, 1), 4, 2)


def offset5(clip):
    return np.clip(clip.astype(np.int64) + 5, 0, 255).astype(np.uint8)


def inverted(clip):
    return (255 - clip).astype(np.uint8)


def roll_x1(clip):
    return np.roll(clip, 1, axis=2)


def flicker6(clip):
    out = clip.astype(np.int64)
    out[0::2] += 6
    out[1::2] -= 6
    return np.clip(out, 0, 255).astype(np.uint8)


DISTORTIONS = {
    "identical": lambda clip: clip.copy(),
    "noise24": noise24,
    "box4_nearest": box4_nearest,
    "offset5": offset5,
    "inverted": inverted,
    "roll_x1": roll_x1,
    "flicker6": flicker6,
}


def sha256(clip):
    return hashlib.sha256(np.ascontiguousarray(clip).tobytes()).hexdigest()


def flow(name, height=240, width=320):
    """Return the (forward, backward) flow fields that the golden warping errors were computed with."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    forward, backward = np.zeros((2, height, width, 2), np.float32)
    if name == "pan_int":
        forward[:], backward[:] = (-2, -1), (2, 1)
    elif name == "pan_subpixel":
        forward[:], backward[:] = (-2.25, -0.5), (2.25, 0.5)
    elif name == "two_layer":
        forward[:], backward[:] = (-2, -1), (2, 1)
        forward[60:140, 100:200], backward[60:140, 103:203] = (3, 0), (-3, 0)
    elif name == "wavy":
        forward = np.stack([1.5 * np.sin(y / 20) - 2, 0.75 * np.cos(x / 15) - 1], -1).astype(np.float32)
        backward = -forward
    elif name == "zoom":
        forward = np.stack([0.02 * (x - width / 2), 0.02 * (y - height / 2)], -1).astype(np.float32)
        backward = (-forward / np.float32(1.02)).astype(np.float32)
    return forward, backward
