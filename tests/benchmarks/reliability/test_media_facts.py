from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.reliability.media_facts import audio_facts, frame_facts, from_first, parse_framecrc, same_times
from starvsr.video.codec_pass import write_lossless

TWO_STREAMS = """#software: Lavf
#tb 0: 1/48000
#tb 1: 1/1000
0,       -931,       -931,     1024,      376, 0xc483adc9, S=1, Skip Samples,       10, 0x067900a6
1,         20,         23,       26,      300, 0x00000001
"""


def test_framecrc_is_read():
    facts = parse_framecrc(TWO_STREAMS)
    assert facts.times == [Fraction(-931, 48000), Fraction(23, 1000)]
    assert facts.checksums == ["0:0xc483adc9", "1:0x00000001"]
    assert parse_framecrc("#dimensions 0: 161x121\n").size == (161, 121)


def test_facts_of_a_file(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    frames[3] = frames[0]
    write_lossless(tmp_path / "clip.mkv", frames, Fraction(25))
    facts = frame_facts(tmp_path / "clip.mkv")
    assert facts.size == (24, 16)
    assert same_times(facts.times, [Fraction(t, 25) for t in range(4)])
    assert facts.checksums[3] == facts.checksums[0] != facts.checksums[1]
    assert audio_facts(tmp_path / "clip.mkv").checksums == []


def test_times_are_compared_within_a_tick():
    times = [Fraction(t, 30) for t in range(3)]
    assert same_times(times, [t + Fraction(1, 2000) for t in times])
    assert not same_times(times, [t + Fraction(1, 30) for t in times])
    assert not same_times(times, times[:2])
    assert from_first([t + 5 for t in times]) == times
    assert from_first([]) == []
