"""Who sends a request: users and hashed passwords in a file, and signed tokens that the server need not remember.

A line of the password file is ``name:scrypt$N$r$p$SALT$HASH``, salt and hash in base64 (RFC 7914).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import threading
import time
from pathlib import Path

from starvsr.apps.server.errors import RefusedError
from starvsr.errors import OptionError

LOCAL_USER = "local"
"""Who sends all requests where there is no login."""
COOKIE = "starvsr_token"
TOKEN_SECONDS = 7 * 24 * 3600
_COST = (1 << 14, 8, 1)
_LARGEST_COST = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_GUEST = re.compile(r"guest-[0-9a-f]{24}")
_LEAST_LENGTH, _MOST_LENGTH = 8, 1024
_MOST_FAILURES, _WINDOW = 10, 60.0


def hash_password(password: str) -> str:
    """Return a password's hash with a fresh salt, as the file holds it."""
    salt = os.urandom(16)
    n, r, p = _COST
    digest = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p)
    return "$".join(
        ["scrypt", str(n), str(r), str(p), base64.b64encode(salt).decode(), base64.b64encode(digest).decode()]
    )


def is_password(password: str, stored: str) -> bool:
    """Whether a password is that of a stored hash."""
    _, n, r, p, salt, digest = stored.split("$")
    wanted = base64.b64decode(digest)
    cost = {"n": int(n), "r": int(r), "p": int(p)}
    made = hashlib.scrypt(password.encode(), salt=base64.b64decode(salt), dklen=len(wanted), maxmem=256 << 20, **cost)
    return hmac.compare_digest(made, wanted)


def read_users(path: Path) -> dict[str, str]:
    """Return the hash of each user.

    Raises:
        OptionError: The file cannot be read, or a line is no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--password-file {path} cannot be read ({error}): `--set-password NAME` makes one") from None
    users: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, stored = line.strip().partition(":")
        if not _NAME.fullmatch(name) or not _is_hash(stored) or name in users:
            raise OptionError(f"--password-file {path}: line {number} is no user: make it with --set-password NAME")
        users[name] = stored
    if not users:
        raise OptionError(f"--password-file {path} has no user: add one with --set-password NAME")
    return users


def _is_hash(stored: str) -> bool:
    words = stored.split("$")
    if len(words) != 6 or words[0] != "scrypt" or not all(word.isdigit() for word in words[1:4]):
        return False
    n, r, p = (int(word) for word in words[1:4])
    if n < 2 or n & (n - 1) or not 0 < n * r * p <= _LARGEST_COST:
        return False
    try:
        return all(len(base64.b64decode(word, validate=True)) >= 16 for word in words[4:])
    except ValueError:
        return False


def set_password(path: Path, name: str, password: str) -> None:
    """Write a user into the password file, or change their password.

    Raises:
        OptionError: The name or the password is refused, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(f"{name!r} is no name of a user: letters, digits and . _ @ - are, 64 at most")
    if not _LEAST_LENGTH <= len(password) <= _MOST_LENGTH:
        raise OptionError(f"a password has at least {_LEAST_LENGTH} characters, and at most {_MOST_LENGTH}")
    users = read_users(path) if path.exists() and path.stat().st_size else {}
    users[name] = hash_password(password)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp: readable by its owner alone
            file.writelines(f"{user}:{stored}\n" for user, stored in users.items())
        os.replace(temporary, path)
    except OSError as error:
        raise OptionError(f"--password-file {path} cannot be written ({error.strerror})") from None


def secret_key(path: Path) -> bytes:
    """Return the key that tokens are signed with; made, readable by its owner alone, when it is not there."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()


class Login:
    """Checks passwords and tokens.

    Args:
        users: The hash of each user; None: no login, and all requests are of one user.
        key: Signs tokens.
        guests: Without users: each browser or program that asks becomes a user of its own.
    """

    def __init__(self, users: dict[str, str] | None, key: bytes, *, guests: bool = False) -> None:
        self._users, self._key, self.takes_guests = users, key, guests and users is None
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._no_one = hash_password(secrets.token_hex(16))

    @property
    def is_needed(self) -> bool:
        """Whether there is a login."""
        return self._users is not None

    def token(self, name: str, password: str, address: str) -> str:
        """Return a token for a user.

        Raises:
            RefusedError: The name or the password is wrong, or too many were.
        """
        self._refuse_guessing(address)
        stored = (self._users or {}).get(name)
        fits = len(password) <= _MOST_LENGTH and is_password(password, stored or self._no_one)  # the same time for all
        if stored is None or not fits:
            with self._lock:
                self._failures.setdefault(address, []).append(time.monotonic())
            raise RefusedError(
                401,
                "wrong_password",
                "the login failed",
                "the name or the password is wrong",
                "try again, or ask the operator",
            )
        return self._signed(name, int(time.time()) + TOKEN_SECONDS)

    def user(self, token: str | None) -> str:
        """Return whose token it is.

        Raises:
            RefusedError: It is missing, wrong, or too old.
        """
        if self._users is None and not self.takes_guests:
            return LOCAL_USER
        name, _, rest = (token or "").partition("|")
        expiry = rest.partition("|")[0]
        is_known = bool(_GUEST.fullmatch(name)) if self._users is None else name in self._users
        is_fresh = is_known and expiry.isdecimal() and len(expiry) < 12 and int(expiry) > time.time()
        if is_fresh and hmac.compare_digest(self._signed(name, int(expiry)).encode(), (token or "").encode()):
            return name
        raise RefusedError(
            401,
            "login_needed",
            "the request was refused",
            "this server needs a login, and there is none or it is too old",
            "POST name and password to /api/v1/login, and send the token as `Authorization: Bearer TOKEN`",
            {"WWW-Authenticate": "Bearer"},
        )

    def guest_token(self) -> str:
        """Return a token for a new guest."""
        return self._signed(f"guest-{secrets.token_hex(12)}", int(time.time()) + TOKEN_SECONDS)

    def _signed(self, name: str, expiry: int) -> str:
        """A token; a changed password makes it worthless."""
        text = f"{name}|{expiry}"
        secret = "guest" if self._users is None else self._users[name]
        digest = hmac.new(self._key, f"{text}|{secret}".encode(), hashlib.sha256).hexdigest()
        return f"{text}|{digest}"

    def _refuse_guessing(self, address: str) -> None:
        with self._lock:
            recent = [t for t in self._failures.get(address, []) if time.monotonic() - t < _WINDOW]
            others = {k: v for k, v in self._failures.items() if k != address and v[-1] > time.monotonic() - _WINDOW}
            self._failures = {**others, address: recent} if recent else others
        if len(recent) >= _MOST_FAILURES:
            wait = {"Retry-After": str(int(_WINDOW))}
            raise RefusedError(
                429,
                "too_many_failures",
                "the login was refused",
                "too many passwords were wrong",
                "wait a minute",
                wait,
            )
