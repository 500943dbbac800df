"""Words of files and names that would steer a terminal are shown and not obeyed."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from starvsr.apps.cli import main
from starvsr.apps.cli.terminal import json_text, printable
from tests.video.clips import make_clip


def test_words_of_files_are_shown_and_not_obeyed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.\u2028\r\nerror: none"
    path = make_clip(
        tmp_path / "a\x1b[31m.mkv",
        audio=["pcm_s16le"],
        metadata={"title": nasty, "comment": "Grüße 日本 🙂"},
        attachments={"../../\x1b[5mfont.ttf": b"abc"},
        chapters=[(0, 100, nasty)],
    )
    control = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")
    out = tmp_path / "out"
    out.mkdir()
    for words in (["info", str(path)], ["info", "--json", str(path)], ["info", str(path) + "\x1b[0m"]):
        main(words)
        said = capfd.readouterr()
        assert not control.search(said.out + said.err)
        assert "\\x1b" in said.out + said.err or "\\u001b" in said.out
    assert main(["upscale", str(path), "-o", str(out / "b.mkv"), "--model", "bicubic", "--scale", "1"]) == 0
    said = capfd.readouterr()
    assert not control.search(said.out + said.err)
    assert [p.name for p in out.iterdir()] == ["b.mkv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "out"]
    with av.open(str(out / "b.mkv")) as container:
        assert container.metadata["COMMENT"] == "Grüße 日本 🙂"


def test_printable_keeps_letters() -> None:
    assert printable("Grüße 日本 🙂 नमस्\u200dते") == "Grüße 日本 🙂 नमस्\u200dते"
    assert printable("a\nb\x1b\x9b\ud880\u202e") == "a\\nb\\x1b\\x9b\\ud880\\u202e"
    import json

    value = {"a": "\x9b\u202e\U000e0001é\n", "b": [1]}
    assert json.loads(json_text(value)) == value
    assert "é" in json_text(value) and "\x9b" not in json_text(value)
