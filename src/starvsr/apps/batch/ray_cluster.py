"""The Ray cluster of a batch: one that is there, or one that is started on this machine. Imports Ray when called."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

from starvsr.errors import OptionError

_CONNECT_SECONDS = 10.0
_STORE_BYTES = 80 << 20  # of the object store of a cluster that is started here: receipts need next to nothing


def connect(address: str | None) -> tuple[Any, bool]:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        address: "auto", "ray://host:10001" or "host:6379"; None starts a cluster on this machine.

    Returns:
        The module ``ray``; whether the connection was made here, and is to be ended here.

    Raises:
        OptionError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # of workers of a cluster that is started here
    try:
        import ray
    except ImportError:
        raise OptionError("--engine ray needs Ray, which is not installed: pip install 'starvsr[ray]'") from None
    refuse_unreachable(address)
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address is None:
            # one cluster for this driver alone, whatever runs on this machine already
            ray.init(address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        ray.shutdown()  # what may have begun to start
        told = " ".join(str(error).split())[:200]
        raise OptionError(
            f"--address {address or 'local'}: no Ray cluster can be reached there ({told}): start one by "
            "`ray start --head`, or leave out --address for one on this machine"
        ) from None
    return ray, True


def refuse_unreachable(address: str | None) -> None:
    """Refuse an address that nobody listens at: Ray itself tries for minutes.

    Raises:
        OptionError: So it is.
    """
    match = re.fullmatch(r"(?:ray://)?([^/:]+|\[[^\]]+\]):(\d+)", address or "")
    if match is None:
        return
    host, port = match.group(1).strip("[]"), int(match.group(2))
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"--address {address}: no Ray cluster can be reached there ({error}): start one by `ray start --head`, or "
            "leave out --address for one on this machine"
        ) from None
