"""What is looked at before a worker starts: options, encoders, weights, metrics, destination, scratch, devices.

What needs torch is looked at in a process of its own, so that the driver, which may run for weeks, stays small.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starvsr.apps.batch.clips import RECORDS
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.settings import Bound
from starvsr.errors import OptionError, OutputError, StarVsrError, WorkerError
from starvsr.families.options import UpscaleOptions


def check_destination(destination: Location) -> None:
    """Refuse a destination that cannot be written, read back and cleaned up.

    Raises:
        OutputError: So it is.
        TransferError: It cannot be reached.
    """
    if destination.is_local and destination.path.exists() and not destination.path.is_dir():
        raise OutputError(f"{destination}: a file: a batch writes into a folder, so name one by -o")
    trial = destination.join(f"{RECORDS}/trial-{socket.gethostname()}-{os.getpid()}.json")
    word = {"trial": os.urandom(8).hex()}
    trial.write_json(word)
    try:
        found = json.loads(trial.read())
    except (OSError, ValueError):
        found = None
    trial.remove()
    if found != word:
        raise OutputError(f"{destination}: what is written there cannot be read back; choose another destination")


def check_outputs(combinations: Sequence[tuple[dict[str, Any], str]]) -> None:
    """Refuse outputs that cannot be encoded here.

    Args:
        combinations: Each (options, output) that differs from the others in options or suffix.

    Raises:
        OptionError: Names the output.
    """
    from starvsr.jobs.outputs import encode_options
    from starvsr.video.write.containers import container_of
    from starvsr.video.write.encoders import plan_encoding
    from starvsr.video.write.output_format import is_still_output

    for values, output in combinations:
        out = Path(output)
        if is_still_output(out):
            continue
        plan_encoding(
            output,
            container_of(output, out.suffix),
            width=256,
            height=256,
            source=None,
            has_alpha=False,
            bit_depth=8,
            options=encode_options(UpscaleOptions(**values)),
        )


def look_with_torch(
    combinations: Sequence[tuple[dict[str, Any], str]],
    device: str,
    devices: str | None,
    metrics: Sequence[str],
    bounds: Sequence[Bound],
) -> dict[str, Any]:
    """Check models, weights and metrics, and find the devices, in a process of its own.

    Args:
        combinations: As for `check_outputs`.
        device: As for `starvsr upscale`.
        devices: The same.
        metrics: What is to be measured.
        bounds: What marks clips for review.

    Returns:
        "gpus", the GPUs to use by their numbers, none of them for the processor.

    Raises:
        OptionError, WeightsError, ...: As the checks raise them.
    """
    asked = {
        "options": [values for values, _ in combinations],
        "device": device,
        "devices": devices,
        "metrics": list(metrics),
        "bounds": [[bound.metric, bound.value, bound.side] for bound in bounds],
    }
    done = subprocess.run(
        [sys.executable, "-m", "starvsr.apps.batch.preflight"],
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise WorkerError(
            f"a process of starvsr cannot be started here (exit status {done.returncode}); does `starvsr upscale` work?"
        ) from None
    if "error" in answer:
        import starvsr.errors as errors

        raise getattr(errors, answer["error"], StarVsrError)(answer["message"])
    return answer


def _look(asked: dict[str, Any]) -> dict[str, Any]:
    from starvsr.apps.batch.figures import check_metrics

    for values in asked["options"]:
        _check_model(UpscaleOptions(**values))
    check_metrics(asked["metrics"], [Bound(*bound) for bound in asked["bounds"]])
    return {"gpus": _gpus(asked["device"], asked["devices"])}


def _check_model(options: UpscaleOptions) -> None:
    """Refuse options that the model does not honour, and weights that are not on this machine; loads nothing."""
    from starvsr.families.options import default_of, model_options
    from starvsr.families.registry import get_entry
    from starvsr.families.settings import job_names, load_names
    from starvsr.options import flag_name

    entry = get_entry(options.model)
    known = {"seed", "steps", "detail"} | load_names(entry.settings) | job_names(entry.settings)
    for name, _ in model_options():
        if getattr(options, name) != default_of(name) and name not in known:
            raise OptionError(f"model {entry.name} has no use for {flag_name(name)}: leave it out")
    weights = None if options.weights is None else Path(options.weights)
    if weights is not None:
        from starvsr.families.recognize import check_weights

        check_weights(entry, weights)
    if entry.parts and (entry.is_trained or weights is not None):
        from starvsr.models.weights import find_model

        find_model(entry, weights)
    elif not entry.is_trained and weights is None:
        raise OptionError(f"{entry.name} has no weights of its own: give what you trained with --weights")


def _gpus(device: str, devices: str | None) -> list[str | None]:
    """Return what each process of this machine computes on: numbers of GPUs, or None for the processor."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [name.strip() for name in devices.split(",")] if devices is not None else [device]
    chosen: list[str | None] = []
    for name in names:
        if name in ("auto", "cuda") and count:
            chosen += [str(number) for number in range(count)]
        elif name.startswith("cuda"):
            number = name.partition(":")[2] or "0"
            if not number.isdigit() or int(number) >= count:
                raise OptionError(f"there is no {name} here: there are {count} GPUs; name others, or the cpu")
            chosen.append(number)
        elif name in ("auto", "cpu", "mps"):
            chosen.append(None)
        else:
            raise OptionError(f"--devices {name!r}: name devices, separated by commas: cuda:0,cuda:1 or cpu,cpu")
    if len({number is None for number in chosen}) > 1:
        raise OptionError(f"--devices {devices}: devices of more than one kind give different bytes; name equal ones")
    return chosen


def main() -> None:
    """Answer the process that started this one."""
    try:
        answer = _look(json.loads(sys.stdin.buffer.read()))
    except StarVsrError as error:
        answer = {"error": type(error).__name__, "message": " ".join(str(error).split())}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
