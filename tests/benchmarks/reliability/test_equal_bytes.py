"""The comparison of outputs before and after a change: inputs are made, a changed byte is named, so is a new case."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reliability.equal_bytes import COMMANDS, PUBLISHED, cases, differences, digests_of, make_inputs


def test_every_input_that_a_command_names_is_made(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    for words in COMMANDS.values():
        assert (tmp_path / words[0].split("/")[0]).exists()
    assert len(cases()) >= 24 and len(cases()) == len(COMMANDS) + len(PUBLISHED) + 3


def test_a_changed_byte_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    before = {"case": digests_of(tmp_path)}
    assert differences(before, {"case": digests_of(tmp_path)}) == []
    (tmp_path / "a").write_bytes(b"two")
    assert differences(before, {"case": digests_of(tmp_path)}) == ["case"]
    assert differences(before, {"new": digests_of(tmp_path)}) == ["new"]
