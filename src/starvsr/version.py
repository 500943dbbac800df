"""The version of the package; `starvsr.__version__` is the same."""

__version__ = "0.1.0"
