"""Ends with 0 when a server answers: ``healthcheck.py URL``. Standard library alone."""

import sys
import urllib.error
import urllib.request


def is_healthy(url: str) -> bool:
    """Return whether there is an answer that is no failure; one that asks for a login is none."""
    try:
        with urllib.request.urlopen(url, timeout=4):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy(sys.argv[1]) else 1)
