"""Refusals of the API: what, why and what next, with a status and a word for programs."""

from __future__ import annotations

from starvsr.errors import StarVsrError


class RefusedError(StarVsrError):
    """A request that is not honoured.

    Args:
        status: HTTP status.
        code: A word for programs, which stays the same.
        what: What was refused.
        why: Why.
        next_step: What to do.
        headers: Headers of the answer.
    """

    def __init__(
        self, status: int, code: str, what: str, why: str, next_step: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{what}: {why}; {next_step}")
        self.status, self.code, self.what, self.why, self.next_step = status, code, what, why, next_step
        self.headers = headers or {}

    def as_dict(self) -> dict[str, dict[str, str]]:
        """Return the body of the answer."""
        told = {"code": self.code, "what": self.what, "why": self.why, "next": self.next_step}
        return {"error": told}


def no_such(kind: str) -> RefusedError:
    """Return the refusal of an id that does not exist, or is another user's: both read the same."""
    return RefusedError(
        404, "not_found", f"no such {kind}", "there is none of that id", f"list yours with GET /api/v1/{kind}s"
    )


def queue_full(why: str, seconds: int) -> RefusedError:
    """Return the refusal of a job or an upload for which there is no room in the queue."""
    return RefusedError(
        429, "queue_full", "the job was not taken", why, f"try again in {seconds} s", {"Retry-After": str(seconds)}
    )


def too_large(what: str, why: str) -> RefusedError:
    """Return the refusal of a file above a limit."""
    return RefusedError(413, "too_large", what, why, "send a smaller file, or ask the operator for a higher limit")
