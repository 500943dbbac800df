"""Who may ask for what: login, other users, hosts, origins."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from starvsr.apps.cli import main
from starvsr.apps.server import login as logins
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.login import Login, is_password, read_users, set_password
from starvsr.apps.server.settings import ServerOptions, ServerSettings
from starvsr.errors import OptionError
from tests.apps.server.running import PIECE, Doubles, server, state_is, submit


@pytest.fixture
def guarded(tmp_path: Path, doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(logins, "_COST", (2, 8, 1))
    users = tmp_path / "users"
    for name in ("ada", "bob"):
        set_password(users, name, f"password of {name}")
    with server(tmp_path / "data", password_file=users) as client:
        yield client


def _headers(client: Any, name: str) -> dict[str, str]:
    answer = client.post("/api/v1/login", json={"name": name, "password": f"password of {name}"})
    client.cookies.clear()
    return {"authorization": f"Bearer {answer.json()['token']}"}


def test_another_users_jobs_and_files_do_not_exist(guarded: Any, doubles: Doubles) -> None:
    ada, bob = _headers(guarded, "ada"), _headers(guarded, "bob")
    guarded.headers.update(ada)
    job = submit(guarded).json()
    guarded.headers.clear()
    guarded.headers["host"] = "localhost"
    place = f"/api/v1/jobs/{job['id']}"
    upload = f"/api/v1/uploads/{job['upload']}"
    body = {"upload": job["upload"], "options": {"model": "bicubic"}}
    asked = [("GET", place), ("GET", f"{place}/events"), ("GET", f"{place}/result"), ("DELETE", place), ("GET", upload)]
    asked += [("POST", f"{place}/{verb}") for verb in ("pause", "resume", "cancel")]
    asked += [("GET", f"{upload}/content"), ("DELETE", upload), ("PATCH", upload)]
    for method, path in asked:
        mine = guarded.request(method, path, headers={**bob, **PIECE, "upload-offset": "0"})
        guess = path.replace(job["id"], "0" * 24).replace(job["upload"], "0" * 24)
        nobodys = guarded.request(method, guess, headers={**bob, **PIECE, "upload-offset": "0"})
        assert mine.status_code == nobodys.status_code == 404 and mine.json() == nobodys.json(), path
    assert guarded.post("/api/v1/jobs", json=body, headers=bob).status_code == 404
    assert guarded.get("/api/v1/jobs", headers=bob).json() == guarded.get("/api/v1/uploads", headers=bob).json() == []
    for id in ("../jobs", "%2e%2e", "1' OR '1'='1", f"{job['id']}/../{job['id']}"):
        assert guarded.get(f"/api/v1/jobs/{id}/result", headers=bob).status_code == 404
    doubles.gate.set()
    assert state_is(guarded, job["id"], "done", headers=ada)


def test_without_a_valid_token_nothing_is_told(guarded: Any) -> None:
    ada = _headers(guarded, "ada")["authorization"].removeprefix("Bearer ")
    name, expiry, digest = ada.split("|")
    forged = [
        "",
        "x",
        f"bob|{expiry}|{digest}",
        f"{name}|{int(expiry) + 9}|{digest}",
        f"{name}|{expiry}|",
        f"{name}|²|{digest}",
    ]
    for token in forged:
        answer = guarded.get("/api/v1/jobs", headers={"authorization": f"Bearer {token}".encode()})
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "login_needed"
    assert guarded.post("/api/v1/uploads", json={"name": "a", "size": 1}).status_code == 401
    assert submit(guarded).status_code == 401 and guarded.get("/api/v1/files").status_code == 401
    assert guarded.get("/api/v1/openapi.json").status_code == 200
    guarded.cookies.clear()
    guarded.post("/api/v1/login", json={"name": "ada", "password": "password of ada"})
    assert guarded.get("/api/v1/server").json()["user"] == "ada"  # by the cookie


def test_guessing_is_slowed_down_and_tokens_end(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [guarded.post("/api/v1/login", json={"name": n, "password": "guess"}) for n in ("ada", "eve")]
    assert wrong[0].status_code == 401 and wrong[0].json() == wrong[1].json()
    for _ in range(8):
        guarded.post("/api/v1/login", json={"name": "ada", "password": "guess"})
    right = guarded.post("/api/v1/login", json={"name": "ada", "password": "password of ada"})
    assert right.status_code == 429 and right.headers["retry-after"] == "60"
    login = guarded.app.state.context.login
    token = login.token("ada", "password of ada", "another address")
    assert login.user(token) == "ada"
    changed = Login({**login._users, "ada": logins.hash_password("another one")}, login._key)
    later = time.time() + logins.TOKEN_SECONDS + 1
    with pytest.raises(RefusedError):
        changed.user(token)
    monkeypatch.setattr(logins.time, "time", lambda: later)
    with pytest.raises(RefusedError):
        login.user(token)


def test_other_sites_and_other_names_are_refused(client: Any) -> None:
    own = {"origin": "http://localhost"}
    assert client.post("/api/v1/uploads", json={"size": 1}, headers=own).status_code == 201
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/api/v1/uploads", json={"size": 1}, headers=headers)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "foreign_origin"
    for host in ("evil.example", "localhost.evil.example", "", "[::1", "evil.example:80"):
        answer = client.get("/api/v1/jobs", headers={"host": host})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "wrong_host"
    for host in ("127.0.0.1:7860", "[::1]:7860", "LOCALHOST"):
        assert client.get("/api/v1/jobs", headers={"host": host}).status_code == 200


def test_large_bodies_and_unknown_places_are_refused_in_the_same_form(client: Any) -> None:
    large = client.post(
        "/api/v1/jobs", content=b'{"path": "' + b"a" * 300_000 + b'"}', headers={"content-type": "application/json"}
    )
    assert large.status_code == 413
    chunked = client.post("/api/v1/uploads", content=iter([b"{}"]), headers={"content-type": "application/json"})
    assert chunked.status_code == 411
    for method, path, status in [("GET", "/x", 404), ("PUT", "/api/v1/jobs", 405), ("POST", "/api/v1/uploads", 422)]:
        answer = client.request(method, path)
        assert answer.status_code == status and answer.json()["error"].keys() == {"code", "what", "why", "next"}


def test_password_files(tmp_path: Path) -> None:
    file = tmp_path / "users"
    set_password(file, "ada", "first password")
    set_password(file, "bob", "second password")
    set_password(file, "ada", "third password")
    users = read_users(file)
    assert list(users) == ["ada", "bob"] and is_password("third password", users["ada"])
    assert not is_password("first password", users["ada"]) and "password" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    for name, password in (("a:b", "long enough"), ("", "long enough"), ("eve", "short"), ("eve", "x" * 2000)):
        with pytest.raises(OptionError):
            set_password(file, name, password)
    for text in (
        "",
        "ada",
        "ada:secret",
        "ada:scrypt$16384$8$1$AAAA$BBBB",
        "ada:scrypt$3$8$1$" + "A" * 24 + "$" + "A" * 24,
    ):
        file.write_text(text)
        with pytest.raises(OptionError, match="--set-password"):
            read_users(file)


def test_a_server_for_others_needs_a_login(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--password-file"):
        ServerSettings(tmp_path, options=ServerOptions(host="0.0.0.0"))
    with pytest.raises(OptionError, match="no such folder"):
        ServerSettings(tmp_path, folders=(tmp_path / "none",))
    with pytest.raises(OptionError, match="--port"):
        ServerOptions(port=70000)


def test_a_user_is_added_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    file = tmp_path / "users"
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    assert main(["serve", "--password-file", str(file), "--set-password", "ada"]) == 0
    assert is_password("a long password", read_users(file)["ada"])
    said = capsys.readouterr()
    assert "ada" in said.err and "a long password" not in said.err + said.out
    assert main(["serve", "--set-password", "ada"]) == 2 and "--password-file" in capsys.readouterr().err
    assert main(["serve", "--host", "0.0.0.0"]) == 2 and "--password-file" in capsys.readouterr().err
