"""Which executor renders the segments of a job: this process, or one process for each device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starvsr.engine.executor import Executor, LocalExecutor
from starvsr.errors import OptionError
from starvsr.families.devices import choose_device
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.job import Job
from starvsr.jobs.model_reference import reference_of, refuse_unpicklable

if TYPE_CHECKING:
    from starvsr.engine.upscaler import Upscaler


def worker_devices(options: UpscaleOptions, upscaler: Upscaler) -> tuple[str, ...]:
    """Return the device of each process that a job is to be computed in; none of them: this process alone.

    Raises:
        OptionError: There is no such device, they are not of one kind, or the model cannot be sent to processes.
    """
    if options.devices is not None:
        devices = tuple(_checked(word.strip()) for word in options.devices.split(","))
        kinds = {device: device_kind(device) for device in (upscaler.device, *devices)}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{device} ({kind})" for device, kind in kinds.items())
            raise OptionError(f"--devices: devices of more than one kind give different bytes: {told}; name equal ones")
    else:
        devices = (upscaler.device,) * (options.processes or 1)
    if len(devices) == 1:
        return ()
    refuse_unpicklable(reference_of(upscaler))
    return devices


def first_device(options: UpscaleOptions) -> str:
    """Return the device that the model is loaded on in this process."""
    return options.device if options.devices is None else _checked(options.devices.split(",")[0].strip())


def device_kind(name: str) -> str:
    """Return what bytes may depend on of a device: its type and model, not its number."""
    import platform

    import torch

    if name.startswith("cuda"):
        return f"cuda, {torch.cuda.get_device_name(name)}"
    if name == "cpu":
        return f"cpu, {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return name


def _checked(word: str) -> str:
    """Check a device without taking any of its memory."""
    import torch

    if word.startswith("cuda") and torch.cuda.is_available():
        try:
            device = torch.device(word)
        except RuntimeError:
            device = None
        if device is None or (device.index or 0) >= torch.cuda.device_count():
            there = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
            raise OptionError(f"--devices: there is no {word} here: there is {there}")
        return str(device)
    if word in ("", "auto"):
        raise OptionError(f"--devices {word!r}: name devices, separated by commas: cuda:0,cuda:1")
    return choose_device(word)


@contextmanager
def open_executor(job: Job, num_segments: int) -> Iterator[Executor]:
    """Open the executor of a job.

    Args:
        job: The job.
        num_segments: Segments that are to be rendered: a single one is rendered here in any case.
    """
    devices = worker_devices(job.options, job.upscaler)
    if not devices or num_segments < 2:
        with job.upscaler.open(job.settings, job.plan) as session:
            yield LocalExecutor(session, job.device)
        return
    from starvsr.engine.process_executor import ProcessExecutor

    # as many threads in each as here: some libraries add up in an order that depends on their number
    with ProcessExecutor(devices[:num_segments], job.options.threads) as executor:
        yield executor
