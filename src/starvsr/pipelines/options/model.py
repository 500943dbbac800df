"""Which model, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.pipelines.options.info import MODEL, option


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and what it is told."""

    model: str = option("star-small", "Model to use; `starvsr models list` shows them.", MODEL, "text")
    scale: float = option(
        4.0,
        "How many times larger. Below the model's own 4, its result is reduced with an antialiased filter.",
        MODEL,
        "float",
        minimum=1,
        maximum=4,
    )
    weights: str | None = option(None, "File of weights to use in place of the model's own.", MODEL, "text", model=True)
    steps: int | None = option(
        None, "Sampling steps (default: the model's own).", MODEL, "int", minimum=1, maximum=1000, model=True
    )
    seed: int | None = option(
        None,
        "Seed of the noise (default: 0). Same seed, same bytes.",
        MODEL,
        "int",
        minimum=0,
        maximum=2**63 - 1,
        model=True,
    )
    detail: float | None = option(
        None,
        "From faithful (0) to vivid (1), for weights that hold both ends (default: halfway). Costs no time.",
        MODEL,
        "float",
        minimum=0,
        maximum=1,
        model=True,
    )
    prompt: str | None = option(None, "What the video shows, for models that read text.", MODEL, "text", model=True)
    window: int | None = option(
        None, "Frames that the network sees at once.", MODEL, "int", unit="frames", minimum=1, model=True
    )
    precision: str | None = option(
        None,
        "Number type of the network (default: the model's own); int8 keeps its weights in 8 bits.",
        MODEL,
        "text",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        model=True,
    )
    negative_prompt: str | None = option(
        None, "What the result must not look like, for models that read text.", MODEL, "text", model=True
    )
    guidance: float | None = option(
        None,
        "Weight of the prompt against the negative prompt (default: the model's own); 1 saves half the work.",
        MODEL,
        "float",
        minimum=1,
        maximum=50,
        model=True,
    )
    step_list: str | None = option(
        None,
        "Where the sampling steps lie: fast (14 steps, the default for 14) or normal (evenly, any number).",
        MODEL,
        "text",
        choices=("fast", "normal"),
        model=True,
    )
