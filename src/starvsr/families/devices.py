"""Device names: "auto", or the name of a device of this machine."""

from __future__ import annotations

from starvsr.errors import OptionError


def choose_device(word: str) -> str:
    """Turn "auto" into the best device of this machine, and check any other name.

    Raises:
        OptionError: there is no such device here.
    """
    import torch

    if word == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(word)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0][:120]
        raise OptionError(f"--device {word} cannot be used here ({reason}): use auto or cpu") from None
    return str(device)
