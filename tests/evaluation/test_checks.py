"""What is refused or remarked before scoring: sizes, numbers of frames, times, colours, shifts in space and time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.interpolate

from starvsr.errors import InputError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.file_checks import check_files
from starvsr.evaluation.pairing import ClipTrio
from starvsr.evaluation.survey import Survey, survey
from tests.evaluation.made_clips import blurred, film, moving, pictures, zoomed


def tags(transfer: str, primaries: str) -> tuple[str, str]:
    return ("-vf", f"format=yuv420p10le,setparams=color_trc={transfer}:color_primaries={primaries}")


PQ = tags("smpte2084", "bt2020")
TEN_BITS = ("-c:v", "libx265", "-x265-params", "log-level=none:pools=none", "-pix_fmt", "yuv420p10le")
Check = Callable[..., Survey]


def trio(hq: Path, gt: Path | None = None, lq: Path | None = None) -> ClipTrio:
    gts, lqs = (None if path is None else ClipSource("clip", path) for path in (gt, lq))
    return ClipTrio("clip", ClipSource("clip", hq), gts, lqs)


@pytest.fixture
def surveyed(tmp_path: Path) -> Check:
    def run(hq: np.ndarray, gt: np.ndarray, **words: bool) -> Survey:
        made = trio(film(tmp_path / "hq.mkv", hq), film(tmp_path / "gt.mkv", gt))
        assert check_files(made) == []
        return survey(made, **words)

    return run


def test_a_result_in_its_place_is_not_remarked_on(surveyed: Check) -> None:
    gt = moving(12)
    found = surveyed(blurred(gt), gt)
    assert (found.warnings, found.num_frames, found.verdict.num_compared, found.times) == ([], 12, 5, None)
    assert found.verdict.shift is not None and found.verdict.shift.size < 0.1
    assert found.alignment()["frames_compared"] == 5


@pytest.mark.parametrize(("x", "y", "words"), [(1, 0, "1.0 px to the right"), (0, -2, "2.0 px up")])
def test_a_result_that_is_shifted_in_space_is_refused(surveyed: Check, x: int, y: int, words: str) -> None:
    wide = moving(8, 80, 112)
    gt, hq = wide[:, 8:-8, 8:-8], blurred(wide[:, 8 - y : 72 - y, 8 - x : 104 - x])
    with pytest.raises(InputError, match=f"shifted by {words} against the reference: align them, or .*--allow-shift"):
        surveyed(hq, gt)
    (warning,) = surveyed(hq, gt, allow_shift=True).warnings
    assert words in warning and "count the shift as error" in warning


def test_a_small_shift_is_remarked_on(surveyed: Check) -> None:
    wide = moving(6, 80, 112)
    columns = np.arange(112)
    spline = scipy.interpolate.make_interp_spline(columns, wide.astype(np.float64), k=5, axis=2)
    moved = spline(columns - 0.3).clip(0, 255).round().astype(np.uint8)
    gt, hq = wide[:, 8:-8, 8:-8], moved[:, 8:-8, 8:-8]
    (warning,) = surveyed(hq, gt).warnings
    assert "shifted by 0.3 px to the right" in warning


@pytest.mark.parametrize(("late", "words"), [(1, "1 frame late"), (-1, "1 frame early"), (2, "2 frames late")])
def test_a_result_that_is_shifted_in_time_is_refused(surveyed: Check, late: int, words: str) -> None:
    film_of_all = zoomed(12)
    gt, hq = film_of_all[2:10], blurred(film_of_all[2 - late : 10 - late])
    with pytest.raises(InputError, match=f"the result is {words}: align"):
        surveyed(hq, gt)
    (warning,) = surveyed(hq, gt, allow_shift=True).warnings
    assert words in warning


def test_of_a_plain_pan_both_readings_are_told(surveyed: Check) -> None:
    frames = moving(9)
    with pytest.raises(InputError, match=r"1 frame late \(or shifted by 3.0 px to the right and 2.0 px down"):
        surveyed(frames[:-1], frames[1:])


@pytest.mark.parametrize("side", ["result", "reference", "input"])
def test_other_numbers_of_frames_are_refused(tmp_path: Path, side: str) -> None:
    clips = {
        name: pictures(tmp_path / name, moving(4 if name == side else 5)) for name in ("result", "reference", "input")
    }
    words = "the result has 4 frames, the reference 5" if side == "result" else f"the result has 5 frames, the {side} 4"
    with pytest.raises(InputError, match=f"{words}: frames were dropped or repeated"):
        survey(trio(clips["result"], clips["reference"], clips["input"]))


def test_other_sizes_are_refused_and_the_likely_cause_named(tmp_path: Path) -> None:
    large, small = film(tmp_path / "a.mkv", moving(2)), film(tmp_path / "b.mkv", moving(2, 16, 24))
    odd, tall = film(tmp_path / "c.mkv", moving(2, 62, 96)), film(tmp_path / "d.mkv", moving(2, 96, 64))
    with pytest.raises(InputError, match="result is 24x16, the reference 96x64: it is 4 times smaller"):
        check_files(trio(small, large))
    with pytest.raises(InputError, match=r"96x62, the reference 96x64: upscale .* or crop"):
        check_files(trio(odd, large))
    with pytest.raises(InputError, match="64x96, the reference 96x64: turn one of them"):
        check_files(trio(tall, large))
    with pytest.raises(InputError, match=r"96x64, and the input has another shape \(96x62\)"):
        check_files(trio(large, lq=odd))
    rounded = film(tmp_path / "e.mkv", moving(2, 36, 54))
    assert check_files(trio(large, lq=rounded)) == []
    assert check_files(trio(large, lq=small)) == []


def test_hdr_against_sdr_is_refused(tmp_path: Path) -> None:
    sdr = film(tmp_path / "sdr.mkv", moving(3))
    hdr = film(tmp_path / "hdr.mkv", moving(3), *PQ, codec=TEN_BITS)
    with pytest.raises(InputError, match=r"the result is HDR \(PQ\), the reference SDR: .*convert one"):
        check_files(trio(hdr, sdr))
    with pytest.raises(InputError, match=r"the result is SDR, the input HDR \(PQ\)"):
        check_files(trio(sdr, lq=hdr))
    other = film(tmp_path / "hlg.mkv", moving(3), *tags("arib-std-b67", "bt2020"), codec=TEN_BITS)
    with pytest.raises(InputError, match=r"HDR \(PQ\), the reference HDR \(HLG\)"):
        check_files(trio(hdr, other))
    (warning,) = check_files(trio(hdr, hdr))
    assert "metrics see code values" in warning


def test_other_primaries_are_remarked_on(tmp_path: Path) -> None:
    gt = film(tmp_path / "a.mkv", moving(2), *tags("bt709", "bt709"), codec=TEN_BITS)
    hq = film(tmp_path / "b.mkv", moving(2), *tags("bt709", "bt2020"), codec=TEN_BITS)
    (warning,) = check_files(trio(hq, gt))
    assert "primaries are BT.2020, the reference's BT.709" in warning


def test_levels_that_were_mistaken_are_remarked_on(surveyed: Check) -> None:
    gt = moving(5)
    squeezed = (16 + gt.astype(np.float32) * 219 / 255).round().astype(np.uint8)
    (warning,) = surveyed(squeezed, gt).warnings
    assert "contrast is 14% lower" in warning and "16-235 and 0-255" in warning


def test_other_times_are_remarked_on(tmp_path: Path) -> None:
    gt = film(tmp_path / "gt.mkv", moving(6))
    hq = film(tmp_path / "hq.mkv", moving(6), rate="60")
    (warning,) = survey(trio(hq, gt)).warnings
    assert "from frame 1 on, result and reference are shown at other times (0.017 s and 0.040 s" in warning


def test_pictures_of_something_else_are_remarked_on(surveyed: Check) -> None:
    (warning,) = surveyed(moving(5, seed=3), moving(5, seed=9)).warnings
    assert "do not show the same picture" in warning


def test_flat_frames_tell_no_shift(surveyed: Check) -> None:
    flat = np.full((3, 64, 96, 3), 90, np.uint8)
    found = surveyed(flat, flat)
    assert "no frame has enough contrast" in found.warnings[0]
    assert found.alignment() == {"shift_px": None, "shift_error_px": None, "frames_compared": 0}


def test_frames_of_more_bits_are_rounded(tmp_path: Path) -> None:
    deep = np.array([[[0, 128, 129], [65535, 257 * 100 + 128, 257 * 100 + 129]]] * 2, np.uint16)[None].repeat(16, 2)
    path = film(
        tmp_path / "deep.mkv", np.ascontiguousarray(deep.repeat(8, 1)), codec=("-c:v", "ffv1", "-pix_fmt", "gbrp16le")
    )
    (frame,) = list(ClipSource("deep", path))
    assert frame[0, 0].tolist() == [0, 0, 1]
    assert frame[0, -1].tolist() == [255, 100, 101]


def test_a_fade_of_a_still_picture_is_not_taken_for_a_shift_in_time(surveyed: Check) -> None:
    """A result that is too dark is nearest to another frame of the fade, and belongs to its own all the same."""
    levels = np.linspace(1, 0.4, 10)[:, None, None, None]
    gt = (moving(1).repeat(10, 0) * levels).astype(np.uint8)
    hq = (blurred(gt) * 0.93).astype(np.uint8)
    assert np.abs(hq[2].astype(int) - gt[3]).mean() < np.abs(hq[2].astype(int) - gt[2]).mean()
    assert surveyed(hq, gt).warnings == []
