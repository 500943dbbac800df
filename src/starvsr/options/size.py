"""How large the output becomes, in place of a factor."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.errors import OptionError
from starvsr.options.info import MODEL, option

_LARGEST = 65_536


@dataclass(frozen=True)
class SizeOptions:
    """How large the output becomes, in place of a factor. The aspect is kept."""

    height: int | None = option(
        None,
        "Height of the output, in place of --scale; the aspect is kept. At most the model's own enlargement.",
        MODEL,
        "int",
        unit="px",
        minimum=2,
        maximum=_LARGEST,
    )
    width: int | None = option(
        None, "Width of the output, as it is shown.", MODEL, "int", unit="px", minimum=2, maximum=_LARGEST
    )
    fit: str | None = option(
        None,
        "The largest size that fits into this box, as it is shown (1920x1080).",
        MODEL,
        "box",
        minimum=2,
        maximum=_LARGEST,
    )

    @property
    def target(self) -> tuple[str, int | None, int | None] | None:
        """The size asked for: its option (for messages), width and height in pixels; None where a factor holds."""
        if self.height is not None:
            return f"--height {self.height}", None, self.height
        if self.width is not None:
            return f"--width {self.width}", self.width, None
        if self.fit is not None:
            width, height = map(int, self.fit.split("x"))
            return f"--fit {self.fit}", width, height
        return None


def check_size(options: SizeOptions, scale: float, default_scale: float) -> None:
    """Refuse options that contradict each other on the size.

    Raises:
        OptionError: two were given.
    """
    given = [f"--{name}" for name in ("height", "width", "fit") if getattr(options, name) is not None]
    if options.height is not None and options.width is not None:
        raise OptionError(
            "--height and --width together would change the aspect: give one of them, or a box: "
            f"--fit {options.width}x{options.height}"
        )
    if given and scale != default_scale:
        given.append("--scale")
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} both say how large the output becomes: give one of them")
