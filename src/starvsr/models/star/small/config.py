"""The numbers of star-small. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.models.star.config import StarUNetConfig


@dataclass(frozen=True)
class StarSmallConfig(StarUNetConfig):
    """A small STAR network and what follows it."""

    refinement_width: int = 0
    """Channels of the convolutions that correct the result at twice the input's size; 0 leaves them out."""
