"""Why a file could not be fetched from the Hugging Face Hub, in one line, with what to do."""

from __future__ import annotations

from starvsr.models.weights.cache import FOLDER_VARIABLE
from starvsr.models.weights.components import HubFile


def explain(error: Exception, repo: str, file: HubFile) -> str:
    """Explain in one line why a file could not be fetched, and what to do."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{repo}"
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is given only to who accepts its terms: do so at {page}, then `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{repo} is not at {page} or closed to you: if it is there, `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{repo} has no file {file.path} (any more): look at {page}, or for a newer starvsr"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return (
            f"{file.path} of {repo} is not on this machine and HF_HUB_OFFLINE forbids to fetch it: unset it, or copy "
            f"the file into a folder and name that in {FOLDER_VARIABLE}"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{page} refuses access ({status}): `hf auth login` again, or set HF_TOKEN to a token that is valid"
    if status is not None:
        return f"{page} answers with error {status} for {file.path}: try again later; what is there will be kept"
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return f"cannot fetch {file.path} from {page} ({reason}): check the connection and fetch again, which continues it"


def endpoint() -> str:
    """Return the address of the Hub, as ``HF_ENDPOINT`` has it."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
