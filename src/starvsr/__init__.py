"""starvsr: real-world video to sharp, steady video at four times the size."""

__version__ = "0.1.0"
