"""A captioner of transformers (BLIP) with tiny random weights and a vocabulary of a few words."""

from __future__ import annotations

from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["a", "red", "barn", "in", "the", "snow", "at", "night"]]


def write_captioner(folder: Path) -> Path:
    """Write the model's folder, and return it."""
    import transformers

    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(vocabulary))
    kind = getattr(transformers, "BlipImageProcessorPil", transformers.BlipImageProcessor)  # before transformers 5
    pictures = kind(size={"height": 32, "width": 32})
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "bos_token_id": 2, "sep_token_id": 3}
    config = transformers.BlipConfig(
        text_config={**text, "eos_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 64},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )
    transformers.set_seed(0)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    transformers.BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
