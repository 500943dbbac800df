"""Unit normal noise on the CPU that is the same on every processor.

`torch.randn` takes its random bits from a generator that is the same everywhere, but turns them into normal values
by the logarithm and cosine of the instruction set at hand; two processors differ by up to 2e-6. Here the same bits go
through the same formula (Box-Muller, in blocks of 16) in float64 and are rounded to float32 once. The values are those
of `torch.randn` on a processor with AVX2, to 5e-7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_BLOCK = 16
_TURN = torch.tensor(2 * math.pi, dtype=torch.float32)
"""A full turn as the vector code has it: an angle is rounded to float32, which alone is worth 1e-6."""


def standard_normal(shape: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Draw unit normal values on the CPU.

    Args:
        shape: of the result.
        generator: of the CPU; moved on as `torch.randn` would move it.

    Returns:
        float32 of that shape.
    """
    count = math.prod(shape)
    if count < _BLOCK:  # torch draws so few one by one, in float64
        return torch.randn(tuple(shape), generator=generator)
    uniform = torch.rand(count, generator=generator)
    whole = count // _BLOCK * _BLOCK
    values = torch.empty(count)
    values[:whole] = _box_muller(uniform[:whole])
    if whole != count:
        values[-_BLOCK:] = _box_muller(torch.rand(_BLOCK, generator=generator))
    return values.view(tuple(shape))


def _box_muller(uniform: Tensor) -> Tensor:
    """Normal values of uniform ones in [0, 1), float32 [16 n]: 8 radii and then 8 angles in each block."""
    radius_of, angle_of = uniform.view(-1, 2, _BLOCK // 2).unbind(1)
    radius = (-2 * (1 - radius_of).double().log()).sqrt()
    angle = (angle_of * _TURN).double()
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).float().flatten()


class SameNormalEverywhere(TorchFunctionMode):
    """Inside ``with``, the `torch.randn` of other packages gives `standard_normal` (float32 on the CPU)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw by our rule where a float32 generator of the CPU is drawn from; leave all else as it is."""
        given = dict(kwargs or {})
        generator = given.get("generator")
        on_cpu = isinstance(generator, torch.Generator) and generator.device.type == "cpu"
        if func is torch.randn and len(args) == 1 and on_cpu and given.get("dtype") in (None, torch.float32):
            assert isinstance(generator, torch.Generator)
            return standard_normal(tuple(args[0]), generator=generator)
        return func(*args, **given)
