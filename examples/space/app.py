"""The page of `starvsr serve` as a Hugging Face Space; also on any machine: ``python app.py``.

Settings are environment variables, so that a Space needs no change of this file:

    STARVSR_USERS   content of a password file (`starvsr serve --password-file users --set-password NAME`): each user
                    has a login and sees their own jobs alone. Without it each browser is a guest of its own.
    STARVSR_DATA    folder for uploads and results (default: starvsr-data); on a Space with storage: /data
    STARVSR_MODELS_OFFERED  models, separated by commas (default: star-small,bicubic)
    HOST, PORT      where to listen (default: 0.0.0.0 on a Space, else 127.0.0.1; 7860)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starvsr.apps.server import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI

LIMITS: dict[str, Any] = {
    "max_upload": 200 << 20,  # bytes
    "max_length": 60,  # seconds of a video
    "max_input_pixels": 1280 * 720,
    "max_disk": 5 << 30,  # bytes
    "max_jobs": 20,
    "max_jobs_per_user": 4,
    "expire": 3600,  # seconds that results are kept
}
"""A Space is small and open to anybody."""


def build(environment: Mapping[str, str]) -> FastAPI:
    """Return the application.

    Args:
        environment: The variables above; ``SPACE_HOST`` is set by the Hub.
    """
    data = Path(environment.get("STARVSR_DATA", "starvsr-data"))
    users = None
    if environment.get("STARVSR_USERS"):
        data.mkdir(parents=True, exist_ok=True)
        users = data / "users"
        with open(os.open(users, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(environment["STARVSR_USERS"].strip() + "\n")
    return create_app(
        data,
        password_file=users,
        guests=users is None,
        framed_by="https://huggingface.co" if "SPACE_HOST" in environment else None,
        allowed_hosts=environment.get("SPACE_HOST"),
        models=environment.get("STARVSR_MODELS_OFFERED", "star-small,bicubic"),
        **LIMITS,
    )


if __name__ == "__main__":
    import uvicorn

    address = os.environ.get("HOST", "0.0.0.0" if "SPACE_HOST" in os.environ else "127.0.0.1")
    uvicorn.run(build(os.environ), host=address, port=int(os.environ.get("PORT", "7860")))
