"""Scripts that measure quality, speed and acceptance; run them as ``python -m benchmarks.<name>``."""
