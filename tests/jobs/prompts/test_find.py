"""Prompts that people wrote: each place, which of them counts, and what is refused."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from starvsr.errors import OptionError, PromptError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.prompts.find import find_prompts, is_text_of
from starvsr.jobs.prompts.prompt import Prompt


def made(folder: Path, **texts: str) -> list[Path]:
    """Files that are called like clips, each with a text beside it where there is one to write."""
    for name, text in texts.items():
        (folder / f"{name}.mp4").touch()
        if text:
            (folder / f"{name}.txt").write_text(text)
    return [folder / f"{name}.mp4" for name in texts]


def told(clips: list[Path], **options: object) -> list[tuple[str, str] | None]:
    """The text and the source of each prompt."""
    found = []
    for prompt in find_prompts(clips, UpscaleOptions(**options)).values():  # type: ignore[arg-type]
        if isinstance(prompt, PromptError):
            raise prompt
        found.append(None if prompt is None else (prompt.text, prompt.source))
    return found


def test_a_text_beside_a_clip_is_its_prompt(tmp_path: Path) -> None:
    clips = made(tmp_path, a="a barn", b="")
    (tmp_path / "my clip (1).mov").touch()
    (tmp_path / "my clip (1).mov.TXT").write_text("a\r\nboat\r\n")
    (tmp_path / "film").mkdir()
    (tmp_path / "film.txt").write_text("rain")
    (tmp_path / "f.txt").write_text("numbered")
    clips += [tmp_path / "my clip (1).mov", tmp_path / "film", tmp_path / "f_%05d.png"]
    assert told(clips) == [
        ("a barn", "a.txt"), None, ("a boat", "my clip (1).mov.TXT"), ("rain", "film.txt"), ("numbered", "f.txt")
    ]  # fmt: skip
    assert told(clips, prompt_from="none") == [None] * 5 == told(clips, prompt="a cat")


def test_a_folder_of_texts_is_paired_by_name(tmp_path: Path) -> None:
    clips = made(tmp_path, a="beside", b="")
    texts = tmp_path / "my texts"
    texts.mkdir()
    for name, text in {"a": "a barn", "b": "a boat", "other": "unused"}.items():
        (texts / f"{name}.txt").write_text(text)
    (texts / "._a.txt").write_bytes(b"\0\5\x16\7")  # as macOS leaves on foreign disks
    assert told(clips, prompt_from=texts) == [("a barn", "my texts/a.txt"), ("a boat", "my texts/b.txt")]


def test_names_are_the_same_however_their_letters_are_composed(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "Café.txt")).write_text("a cup")
    assert told([tmp_path / unicodedata.normalize("NFC", "Café.mp4")]) == [
        ("a cup", unicodedata.normalize("NFD", "Café.txt"))
    ]


def test_a_line_for_each_clip_in_their_order(tmp_path: Path) -> None:
    clips = made(tmp_path, a="beside", b="", c="")
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"\xef\xbb\xbfa barn\r\na boat\r\na cat\r\n\r\n")
    assert told(clips, prompt_from=lines) == [
        ("a barn", "lines.txt, line 1"), ("a boat", "lines.txt, line 2"), ("a cat", "lines.txt, line 3")
    ]  # fmt: skip
    with pytest.raises(PromptError, match=r"3 lines for 2 inputs: .* in this order: a.mp4, b.mp4$"):
        told(clips[:2], prompt_from=lines)
    lines.write_text("a barn\n\na cat\n")
    found = find_prompts(clips, UpscaleOptions(prompt_from=str(lines)))
    assert isinstance(found[clips[0]], Prompt) and isinstance(found[clips[2]], Prompt)
    with pytest.raises(PromptError, match=r"line 2: empty: write what b.mp4 shows"):
        told(clips, prompt_from=lines)


def test_a_clip_without_a_text_is_refused_where_texts_were_asked_for(tmp_path: Path) -> None:
    clips = made(tmp_path, a="beside")
    texts = tmp_path / "texts"
    texts.mkdir()
    with pytest.raises(PromptError, match=r"texts: no text for a.mp4: write a.txt there, or add --caption"):
        told(clips, prompt_from=texts)
    assert told(clips, prompt_from=texts, caption="describe") == [None]
    with pytest.raises(PromptError, match="no such file or folder"):
        told(clips, prompt_from=tmp_path / "nowhere")


def test_two_texts_for_a_clip_and_empty_ones_are_refused(tmp_path: Path) -> None:
    (clip,) = made(tmp_path, a="one")
    (tmp_path / "a.mp4.txt").write_text("two")
    with pytest.raises(PromptError, match=r"a.txt and .*a.mp4.txt are both named as the text of a.mp4: keep one"):
        told([clip])
    (tmp_path / "a.mp4.txt").unlink()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf \r\n\r\n")
    with pytest.raises(PromptError, match=r"a.txt: empty: write what a.mp4 shows, remove it, or .* --prompt-from none"):
        told([clip])


def test_a_bad_text_is_told_when_its_clip_has_its_turn(tmp_path: Path) -> None:
    clips = made(tmp_path, a="a barn", b="x")
    (tmp_path / "b.txt").write_bytes("Café".encode("latin-1"))
    found = find_prompts(clips, UpscaleOptions())
    assert isinstance(found[clips[0]], Prompt) and isinstance(found[clips[1]], PromptError)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_listed_has_no_texts_beside_clips(tmp_path: Path) -> None:
    (clip,) = made(tmp_path, a="a barn")
    tmp_path.chmod(0o300)
    try:
        assert told([clip]) == [None]
    finally:
        tmp_path.chmod(0o700)


def test_texts_are_known_by_the_names_of_clips(tmp_path: Path) -> None:
    clips = made(tmp_path, a="a barn")
    assert is_text_of(tmp_path / "a.txt", clips) and is_text_of(tmp_path / "a.mp4.TXT", clips)
    assert not is_text_of(tmp_path / "b.txt", clips) and not is_text_of(tmp_path / "a.srt", clips)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "a", "prompt_from": "texts"}, "--prompt and --prompt-from both say"),
        ({"prompt": "a", "caption": "describe"}, "--prompt and --caption both say"),
        ({"prompt": " \n"}, "--prompt is empty"),
        ({"prompt_from": ""}, "--prompt-from is empty"),
        ({"caption": "  "}, "--caption is empty"),
        ({"caption": 'say "hello'}, "check the quotes"),
        ({"caption_frames": 2}, "--caption-frames has no use without --caption"),
        ({"caption_timeout": 2}, "--caption-timeout has no use without --caption"),
        ({"caption": "describe", "caption_frames": 0}, "--caption-frames is 0: give at least 1"),
    ],
)
def test_options_that_say_two_things_or_nothing_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        UpscaleOptions(**options)  # type: ignore[arg-type]
