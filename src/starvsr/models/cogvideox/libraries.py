"""diffusers and transformers, imported when they are needed (extra "cogvideox")."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from starvsr.errors import OptionError


def library(name: str) -> Any:
    """Import a module of an optional library.

    Raises:
        OptionError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise OptionError(f"STAR on CogVideoX needs {package}: pip install 'starvsr[cogvideox]'") from error
