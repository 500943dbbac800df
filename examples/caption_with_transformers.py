"""Say what frames show, by a captioner of transformers, for ``starvsr upscale --caption``.

    pip install transformers
    starvsr upscale clip.mp4 --model star-light --caption "python examples/caption_with_transformers.py"

Each frame is captioned; captions that say something new are joined into one sentence, which is printed. The model is
``Salesforce/blip-image-captioning-base`` (BSD-3-Clause, about 1 GB, downloaded once); ``--model NAME`` names another
one of the same kind, or a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODEL = "Salesforce/blip-image-captioning-base"
MOST_TOKENS = 24  # of the caption of a frame: the text encoders of STAR and StableVSR read 75 in all


def caption(frames: Sequence[Path], model: str = MODEL) -> str:
    """Return a sentence on what the frames show."""
    from PIL import Image
    from transformers import AutoProcessor, BlipForConditionalGeneration

    pictures = [Image.open(frame).convert("RGB") for frame in frames]
    processor: Any = AutoProcessor.from_pretrained(model)
    captioner: Any = BlipForConditionalGeneration.from_pretrained(model).eval()
    made = captioner.generate(**processor(images=pictures, return_tensors="pt"), max_new_tokens=MOST_TOKENS)
    return joined(processor.batch_decode(made, skip_special_tokens=True))


def joined(captions: Sequence[str], most: int = 3) -> str:
    """Join the captions that differ, those of most frames first."""
    texts = [" ".join(text.split()) for text in captions if text.strip()]
    return ", ".join(sorted(dict.fromkeys(texts), key=texts.count, reverse=True)[:most])


def main(words: Sequence[str]) -> None:
    """Print the caption of the frames that the words name."""
    model = MODEL
    if words and words[0] == "--model":
        model, words = words[1], words[2:]
    frames = [Path(word) for word in words]
    missing = [frame for frame in frames if not frame.is_file()]
    if missing:
        sys.exit(f"error: {missing[0]}: there is no such frame")
    print(caption(frames, model))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
