"""What a muxer refuses is found before the first frame is computed."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

import starvsr
from starvsr.errors import Cancelled, OptionError, OutputError
from starvsr.families.bicubic import BicubicUpscaler
from starvsr.video import EncodeOptions, probe
from starvsr.video.remux.streams import StreamCopier
from starvsr.video.write.container import FileSink
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.trial import try_output
from tests.video.clips import make_clip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mkv", count=4, audio=["aac"])


class Counting(BicubicUpscaler):
    """Counts the clips that it is given."""

    num_clips = 0

    def upscale(self, *args: Any, **words: Any) -> Any:
        self.num_clips += 1
        return super().upscale(*args, **words)


def spoil(monkeypatch: pytest.MonkeyPatch, kind: str, at: int = 5) -> None:
    """Make the muxer refuse a late packet of a kind of stream."""
    real = StreamCopier._fetch
    seen = {"count": 0}

    def fetch(copier: StreamCopier) -> Any:
        found = real(copier)
        if found is not None and found[0].source.type == kind:
            seen["count"] += 1
            if seen["count"] % at == 0:
                found[1].dts = -(10**15)
        return found

    monkeypatch.setattr(StreamCopier, "_fetch", fetch)


def form(source: Path, out: Path, **options: Any) -> OutputFormat:
    info = probe(source)
    return OutputFormat.like(out, info, info.width, info.height, EncodeOptions(**options))


def test_a_good_output_passes_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    for name in ("out.mp4", "out.mov", "out.mkv"):
        found = try_output(form(source, tmp_path / name), time_range=None, comment=None)
        assert not found.refused
        part = try_output(form(source, tmp_path / name), time_range=(Fraction(1, 25), None), comment="c")
        assert not part.refused
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_late_fault_of_a_stream_is_found_and_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "audio")
    found = try_output(form(source, tmp_path / "out.mp4"), time_range=None, comment=None)
    assert list(found.refused) == [1]
    assert any("stream 1" in note and "MP4 refuses its packets" in note for note in found.notes)
    with pytest.raises(OptionError, match="stream 1: MP4 refuses its packets") as caught:
        try_output(form(source, tmp_path / "out.mp4", missing_streams="error"), time_range=None, comment=None)
    told = re.search(r"give --missing-streams (\w+)$", str(caught.value))
    assert told and starvsr.UpscaleOptions(missing_streams=told.group(1)).missing_streams == "note"


def test_the_job_leaves_it_out_or_refuses_before_the_first_frame(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "audio")
    model = Counting(2)
    options: dict[str, Any] = {"model": "bicubic", "scale": 2, "upscaler": model}
    with pytest.raises(OptionError, match="refuses its packets"):
        starvsr.upscale(source, tmp_path / "a.mp4", missing_streams="error", **options)
    assert model.num_clips == 0
    result = starvsr.upscale(source, tmp_path / "b.mp4", **options)
    assert result.num_frames == 4
    assert any("refuses its packets" in note for note in result.notes)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_what_is_refused_without_other_streams_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sink: FileSink) -> None:
        raise av.error.InvalidDataError(22, "no end")

    monkeypatch.setattr(FileSink, "write_end", refuse)
    with pytest.raises(OutputError, match="could not be written"):
        try_output(form(source, tmp_path / "out.mp4"), time_range=None, comment=None)


def test_it_can_be_stopped(source: Path, tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        try_output(form(source, tmp_path / "out.mp4"), time_range=None, comment=None, tick=stop)
