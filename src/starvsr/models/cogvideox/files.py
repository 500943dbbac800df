"""Where the files of STAR on CogVideoX lie: in a model folder, or in the layout of CogVideo's SAT code."""

from __future__ import annotations

from pathlib import Path

from starvsr.models.weights.locate import ModelFiles

LAYOUT = {
    "transformer": "transformer",
    "lora": "star_lora.safetensors",
    "vae": "vae",
    "vae/config.json": "vae/config.json",
    "text": "text_encoder",
    "text/config.json": "text_encoder/config.json",
    "tokenizer/spiece.model": "tokenizer/spiece.model",
    "tokenizer/tokenizer.json": "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json": "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json": "tokenizer/special_tokens_map.json",
    "tokenizer/added_tokens.json": "tokenizer/added_tokens.json",
}
"""Where each file lies in a model folder."""

_TRANSFORMER = ("", "transformer")
_VAE = ("vae/3d-vae.pt", "3d-vae.pt")
_TEXT = ("t5-v1_1-xxl", "text_encoder")
_TOKENIZER = ("t5-v1_1-xxl", "tokenizer")


def sat_files(path: Path) -> ModelFiles:
    """Return the files in a folder as CogVideo's SAT code expects them; none when it is no such folder.

    The transformer is a folder with ``latest``, the given one or ``transformer`` in it. Beside it there may be the VAE
    (``vae/3d-vae.pt``, or a folder ``vae`` of diffusers) and the text encoder (``t5-v1_1-xxl``, or the folders
    ``text_encoder`` and ``tokenizer``).

    Args:
        path: The folder, or the transformer's file of states alone.
    """
    from starvsr.models.cogvideox.sat import states_file  # loads torch

    if path.is_file():
        return {"transformer": path} if states_file(path) is not None else {}
    transformer = next((path / name for name in _TRANSFORMER if (path / name / "latest").is_file()), None)
    if transformer is None:
        return {}
    found = {"transformer": transformer}
    vae = next((path / name for name in _VAE if (path / name).is_file()), None)
    if vae is not None:
        found["vae"] = vae
    elif (path / "vae" / "config.json").is_file():
        found |= {"vae": path / "vae", "vae/config.json": path / "vae" / "config.json"}
    text = next((path / name for name in _TEXT if (path / name / "config.json").is_file()), None)
    if text is not None:
        found |= {"text": text, "text/config.json": text / "config.json"}
    for folder in (path / name for name in _TOKENIZER):
        files = {name: folder / name.partition("/")[2] for name in LAYOUT if name.startswith("tokenizer/")}
        there = {name: file for name, file in files.items() if file.is_file()}
        if "tokenizer/spiece.model" in there or "tokenizer/tokenizer.json" in there:
            found |= there
            break
    return found
