"""Features of captions by a frozen T5, computed once and kept on the disk, so that T5 is in memory for moments only."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import DataError, OutputNotWritableError, PromptTooLongError, WeightsError
from starvsr.families.star_cogvideox.load import SPARE
from starvsr.models.cogvideox.folder import load_text_encoder, load_tokenizer
from starvsr.models.cogvideox.text import LENGTH, encode_prompt
from starvsr.models.int8 import weight_bytes
from starvsr.models.weights import ModelFiles, digest, known_digest, read_tensors, tensors_digest
from starvsr.models.weights.save import save_tensors
from starvsr.offload.oom import empty_cache, free_bytes

KEPT = 256
"""Captions whose features are held in memory, 1.9 MB each in bfloat16."""
_NAME = "features"
_SHOWN = 5


class CaptionFeatures:
    """Features of captions, [226, D] each.

    Args:
        files: Where text encoder and tokenizer lie.
        device: Where the text encoder computes, if it fits; otherwise the CPU.
        folder: Gets a file for each caption; its name tells caption and text encoder.
        width: D, for captions that are left out.
    """

    def __init__(self, files: ModelFiles, device: torch.device | str, folder: Path, width: int) -> None:
        self._files, self._device, self._folder, self._width = files, torch.device(device), folder, width
        self._held: OrderedDict[str, Tensor] = OrderedDict()
        self._encoder_digest = ""

    def __call__(self, captions: Sequence[str | None]) -> Tensor:
        """Return features [B, 226, D] on the CPU; zeros for None.

        Raises:
            DataError: A caption has more tokens than T5 reads.
            WeightsError: The text encoder is damaged, or not as wide as the network's text.
        """
        found = {text: self._features(text) for text in dict.fromkeys(captions) if text is not None}
        dtype = next(iter(found.values())).dtype if found else torch.float32
        zeros = torch.zeros(LENGTH, self._width, dtype=dtype)
        return torch.stack([zeros if text is None else found[text] for text in captions])

    def prepare(self, captions: Mapping[str, str]) -> None:
        """Compute the features of captions that are not on the disk yet, and of the empty one.

        Args:
            captions: By the names of the clips' files.

        Raises:
            DataError: Some have more tokens than T5 reads; their clips are named.
            WeightsError: See `__call__`.
            OutputNotWritableError: The disk is full or closed to us.
        """
        names: dict[str, str] = {"": ""}
        for name, text in captions.items():
            names.setdefault(text, name)
        missing = [text for text in names if self._read(text) is None]
        if missing:
            self._compute(missing, names)

    def _features(self, text: str) -> Tensor:
        if text not in self._held:
            found = self._read(text)
            if found is None:
                self._compute([text], {})
                found = self._read(text)
            assert found is not None
            self._held[text] = found
            if len(self._held) > KEPT:
                self._held.popitem(last=False)
        self._held.move_to_end(text)
        return self._held[text]

    def _compute(self, texts: Iterable[str], names: Mapping[str, str]) -> None:
        """Encode texts, each alone, and write their features; the text encoder is let go."""
        tokenizer, encoder = load_tokenizer(self._files), load_text_encoder(self._files)
        if encoder.config.d_model != self._width:
            raise WeightsError(
                f"{self._files['text']} makes features of {encoder.config.d_model} values, and the network reads "
                f"{self._width}: give the text encoder that belongs to it"
            )
        free = free_bytes(self._device)
        encoder = encoder.to(self._device if free is None or free >= SPARE * weight_bytes(encoder) else "cpu")
        too_long: list[str] = []
        for text in texts:
            try:
                self._write(text, encode_prompt(tokenizer, encoder, text)[0].cpu())
            except PromptTooLongError as error:
                too_long.append(f"{names.get(text) or repr(text[:40])} ({error.num_tokens})")
        del encoder
        empty_cache(self._device)
        if too_long:
            more = f" and {len(too_long) - _SHOWN} more" if len(too_long) > _SHOWN else ""
            raise DataError(
                f"captions have more than the {LENGTH} tokens that the text encoder reads: those of "
                f"{', '.join(too_long[:_SHOWN])}{more}; shorten them"
            )

    def _path(self, text: str) -> Path:
        if not self._encoder_digest:
            self._encoder_digest = _digest(self._files)
        key = hashlib.sha256(f"{self._encoder_digest}\n{text}".encode()).hexdigest()
        return self._folder / f"{key}.safetensors"

    def _read(self, text: str) -> Tensor | None:
        path = self._path(text)
        with suppress(WeightsError):  # a damaged file is made again
            found = read_tensors(path) if path.is_file() else {}
            if _NAME in found and found[_NAME].shape == (LENGTH, self._width):
                return found[_NAME].clone()
        return None

    def _write(self, text: str, features: Tensor) -> None:
        path = self._path(text)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors({_NAME: features.contiguous()}, partial, {"format": "pt"})
            os.replace(partial, path)
        except OSError as error:
            raise OutputNotWritableError(
                f"cannot write {path}: {error}; free some space, or give another data.cache"
            ) from error
        finally:
            partial.unlink(missing_ok=True)


def _digest(files: ModelFiles) -> str:
    """Return what the features depend on beside the text: SHA-256 of the text encoder's and the tokenizer's files."""
    others = [path for key, path in sorted(files.items()) if key.startswith(("tokenizer/", "text/"))]
    found = [tensors_digest(files["text"], known_digest), *(digest(path) for path in others)]
    return hashlib.sha256("".join(found).encode()).hexdigest()
