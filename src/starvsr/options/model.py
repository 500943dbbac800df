"""Which model, and how many times larger."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.options.info import MODEL, option


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how many times larger."""

    model: str = option("star-small", "Model to use; `starvsr models list` shows them.", MODEL, "text")
    scale: float = option(
        4.0,
        "How many times larger. Below the model's own 4, its result is reduced with an antialiased filter.",
        MODEL,
        "float",
        minimum=1,
        maximum=4,
    )
