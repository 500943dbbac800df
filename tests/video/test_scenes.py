from __future__ import annotations

import numpy as np
import pytest

from starvsr.video import SceneDetector


def texture(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """float [H, W, 3] in [0, 255]: smooth random shapes in random colours, larger than the frame shown of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 24 + 2, width // 24 + 2, 3))
    y, x = np.linspace(0, coarse.shape[0] - 1.01, height), np.linspace(0, coarse.shape[1] - 1.01, width)
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (y - y0)[:, None, None], (x - x0)[None, :, None]
    top = coarse[y0][:, x0] * (1 - fx) + coarse[y0][:, x0 + 1] * fx
    bottom = coarse[y0 + 1][:, x0] * (1 - fx) + coarse[y0 + 1][:, x0 + 1] * fx
    mood = rng.uniform(0.2, 1.0, 3)
    return 255 * (top * (1 - fy) + bottom * fy) * mood


def pan(picture: np.ndarray, count: int, step: float, noise: float = 2.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = []
    for t in range(count):
        left = round(step * t)
        view = picture[40:184, left : left + 192]
        frames.append((view + rng.normal(0, noise, view.shape)).clip(0, 255).astype(np.uint8))
    return frames


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = SceneDetector()
    return [index for index, frame in enumerate(frames) if detector.is_cut(frame)]


@pytest.mark.parametrize("seed", range(6))
def test_hard_cuts_are_found_where_they_are(seed: int) -> None:
    frames: list[np.ndarray] = []
    wanted = []
    for number, length in enumerate([8, 5, 12, 4]):
        if frames:
            wanted.append(len(frames))
        frames += pan(texture(10 * seed + number), length, step=3)
    assert cuts(frames) == wanted


def test_pans_noise_and_stills_are_no_cuts() -> None:
    assert cuts(pan(texture(1), 30, step=0)) == []
    assert cuts(pan(texture(2, width=640), 30, step=12)) == []  # a width in 16 frames
    assert cuts(pan(texture(3), 20, step=2, noise=25)) == []


def test_flashes_are_no_cuts() -> None:
    frames = pan(texture(4), 20, step=2)
    for index in (6, 13, 14):
        frames[index] = (frames[index].astype(float) * 0.4 + 150).clip(0, 255).astype(np.uint8)
    assert cuts(frames) == []
    frames[10] = np.full_like(frames[10], 255)
    found = cuts(frames)
    assert 11 not in found  # the picture after a white frame is the one before it


def test_fades_and_dissolves_are_no_cuts() -> None:
    one, other = texture(5), texture(6)
    fade = [frame * (t / 24) for t, frame in enumerate(np.stack(pan(one, 24, 1)).astype(float))]
    assert cuts([f.astype(np.uint8) for f in fade]) == []
    dissolve = [(one * (1 - t / 24) + other * (t / 24))[:144, :192].astype(np.uint8) for t in range(25)]
    assert cuts(dissolve) == []


def test_black_to_picture_is_a_cut() -> None:
    frames = [np.zeros((144, 192, 3), np.uint8)] * 6 + pan(texture(7), 6, 1)
    assert cuts(frames) == [6]


def test_result_does_not_depend_on_depth_and_little_on_size() -> None:
    frames = pan(texture(8), 6, 2) + pan(texture(9), 6, 2)
    assert cuts([f.astype(np.uint16) * 257 for f in frames]) == [6]
    assert cuts([f[::6, ::6] for f in frames]) == [6]
    assert cuts([f.repeat(3, 0).repeat(3, 1) for f in frames]) == [6]
    assert cuts([f[:9, :9] for f in frames]) in ([6], [])  # a few pixels: no crash


def test_reset_forgets() -> None:
    detector = SceneDetector()
    for frame in pan(texture(11), 4, 1):
        detector.is_cut(frame)
    detector.reset()
    assert not detector.is_cut(pan(texture(12), 1, 1)[0])


def test_alpha_is_ignored() -> None:
    frames = pan(texture(13), 5, 1) + pan(texture(14), 5, 1)
    with_alpha = [np.dstack([f, np.full(f.shape[:2], i * 20, np.uint8)]) for i, f in enumerate(frames)]
    assert cuts(with_alpha) == [5]


@pytest.mark.parametrize("shape", [(240, 320), (17, 9), (9, 30_000), (2160, 500)])
def test_scores_are_exact(shape: tuple[int, int]) -> None:
    """Whole numbers add up alike in any order and depth: the scores of all ways to say the same are equal, not near."""
    rng = np.random.default_rng(1)
    bright = rng.integers(0, 256, (*shape, 3), np.uint8)
    frames = [bright, np.roll(bright, 7, axis=1) // 2, np.full_like(bright, 255), bright // 3]
    scores: list[list[float]] = []
    for told in (
        frames,
        [frame.astype(np.uint16) * 257 for frame in frames],
        [np.asfortranarray(frame) for frame in frames],
        [np.dstack([frame, frame[..., :1]])[..., :3] for frame in frames],
    ):
        detector = SceneDetector()
        scores.append([(detector.is_cut(frame), detector.last_score)[1] for frame in told])
    assert scores[0] == scores[1] == scores[2] == scores[3]
    assert all(0 <= score <= 1 for score in scores[0]) and len(set(scores[0])) > 2


def test_a_frame_against_itself_and_its_negative() -> None:
    picture = pan(texture(15), 1, 0)[0]
    detector = SceneDetector()
    for frame in (picture, picture):
        detector.is_cut(frame)
    assert detector.last_score < 1e-7
    detector.reset()
    for frame in (picture, 255 - picture):
        detector.is_cut(frame)
    assert detector.last_score > 0.5
