"""Compare this package with numbers recorded from the authors' code. Run: python -m tests.parity DIR."""
