"""What the page opens and what it does not: Gradio's own endpoints stay out of reach, for users and for everyone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from starvsr.apps.server import create_app
from starvsr.apps.server import login as logins
from starvsr.apps.server.fields import fields_for
from starvsr.apps.server.login import set_password
from starvsr.apps.server.settings import ServerOptions, ServerSettings
from starvsr.errors import OptionError
from tests.apps.server.running import server

MODELS = "star-small,bicubic"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server with a login, not logged in."""
    folder = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logins, "_COST", (2, 8, 1))
        set_password(folder / "users", "ada", "password of ada")
        with server(folder / "data", password_file=folder / "users", models=MODELS, page=True) as client:
            yield client


def page_of(client: Any) -> Any:
    client.post("/api/v1/login", json={"name": "ada", "password": "password of ada"})
    answer = client.get("/")
    client.cookies.clear()
    return answer


def test_without_a_login_the_page_is_a_login_alone(guarded: Any) -> None:
    answer = guarded.get("/")
    assert 'id="password"' in answer.text and "star-small" not in answer.text and "gradio" not in answer.text.lower()
    assert "field-model" in page_of(guarded).text


def test_the_page_has_a_control_for_each_option_and_runs_no_foreign_script(guarded: Any) -> None:
    answer = page_of(guarded)
    for field in fields_for(tuple(MODELS.split(","))):
        assert f'"field-{field.name}"' in answer.text, field.name
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"script-src 'self' 'nonce-([^']+)'; ", policy)
    assert nonce is not None and "unsafe-eval" not in policy and "default-src 'none'" in policy
    scripts = re.findall(r"<script[^>]*>", answer.text)
    assert scripts and all(f'nonce="{nonce[1]}"' in script for script in scripts)
    assert page_of(guarded).headers["content-security-policy"] != policy  # a fresh one each time
    fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', answer.text)
    assert fetched and all(not re.match(r"\w+:|//", address) for address in fetched), fetched
    assert '"analytics_enabled":false' in answer.text


def test_nothing_of_gradio_that_takes_or_gives_data_is_there(guarded: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    guarded.post("/api/v1/login", json={"name": "ada", "password": "password of ada"})
    asked = [
        ("GET", path) for path in ("/config", "/info", "/login_check", "/token", "/monitoring", "/app_id", "/user")
    ]
    asked += [("GET", f"/gradio_api{path}") for path in ("/info", "/config", "/queue/data", "/heartbeat/a", "/runs")]
    asked += [("GET", f"/gradio_api/file={secret}"), ("GET", f"/file={secret}"), ("GET", f"/gradio_api/file/{secret}")]
    asked += [("GET", "/gradio_api/proxy=https://example.org/"), ("GET", "/gradio_api/deep_link")]
    asked += [
        ("POST", f"/gradio_api{path}") for path in ("/upload", "/queue/join", "/run/predict", "/call/x", "/reset")
    ]
    asked += [("POST", path) for path in ("/upload", "/login", "/run/predict", "/assets/x.js", "/page/app.js")]
    asked += [("GET", f"/{folder}/{path}") for folder in ("assets", "static", "page") for path in (
        "..%2f..%2fpackage.json", "%2e%2e/%2e%2e/secret", "..\\secret", ".hidden", "", "nothing.js",
        f"//{secret}", str(secret), "login.html", "%00",
    )]  # fmt: skip
    for method, path in asked:
        answer = guarded.request(method, path, headers={"origin": "http://localhost"})
        assert answer.status_code in (404, 405), (method, path, answer.status_code)
        assert "secret" not in answer.text
    assert not list(Path(guarded.app.state.context.places.data).rglob("secret*"))
    guarded.cookies.clear()


def test_what_the_page_needs_is_there(guarded: Any) -> None:
    html = page_of(guarded).text
    for address in re.findall(r'(?:src|href)="\.?(/(?:page|assets|static)[^"]+)"', html):
        answer = guarded.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert guarded.get("/page/player.js").headers["content-type"].startswith("text/javascript")
    assert "starvsr-player" in guarded.get("/page/player.js").text


def test_pages_of_other_sites_get_nothing(guarded: Any) -> None:
    assert guarded.get("/", headers={"host": "evil.example"}).status_code == 403
    assert guarded.get("/page/app.js", headers={"host": "evil.example"}).status_code == 403
    assert "frame-ancestors 'self'" in guarded.get("/").headers["content-security-policy"]


def test_guests_are_apart_and_a_named_site_may_frame_the_page(tmp_path: Path) -> None:
    values = {"guests": True, "framed_by": "https://example.org", "host": "0.0.0.0", "page": True}
    with server(tmp_path / "data", models="bicubic", **values) as client:
        assert client.get("/api/v1/jobs").status_code == 401
        first = client.get("/")
        assert "frame-ancestors 'self' https://example.org;" in first.headers["content-security-policy"]
        cookie = first.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=None", "Secure", "Partitioned"))
        tokens = [cookie.split("=", 1)[1].split(";")[0]]
        client.cookies.clear()
        tokens.append(client.post("/api/v1/login", json={"name": "", "password": ""}).json()["token"])
        client.cookies.clear()
        ones = [{"authorization": f"Bearer {token}"} for token in tokens]
        users = [client.get("/api/v1/server", headers=one).json()["user"] for one in ones]
        assert len(set(users)) == 2 and all(user.startswith("guest-") for user in users)
        upload = client.post("/api/v1/uploads", json={"size": 1}, headers=ones[0]).json()["id"]
        assert client.get(f"/api/v1/uploads/{upload}", headers=ones[0]).status_code == 200
        assert client.get(f"/api/v1/uploads/{upload}", headers=ones[1]).status_code == 404
        forged = {"authorization": f"Bearer {tokens[0].replace(users[0], users[1])}"}
        assert client.get("/api/v1/jobs", headers=forged).status_code == 401
        assert "set-cookie" not in client.get("/", headers=ones[0]).headers  # it stays the same guest


def test_settings_of_guests_and_frames_that_contradict_are_refused(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    with pytest.raises(OptionError, match="--framed-by"):
        ServerSettings(tmp_path / "a", options=ServerOptions(framed_by="https://a.org; script-src *"))
    with pytest.raises(OptionError, match="exclude each other"):
        ServerSettings(tmp_path / "a", password_file=tmp_path / "users", options=ServerOptions(guests=True))


def test_the_server_without_the_page(tmp_path: Path) -> None:
    with server(tmp_path / "data") as client:
        assert client.get("/").status_code == 404 and client.get("/api/v1/server").status_code == 200


def test_create_app_takes_the_flags_by_name(tmp_path: Path) -> None:
    application = create_app(tmp_path / "data", folders=[tmp_path], devices="cpu", models="bicubic", page=False)
    context = application.state.context
    assert context.models == ("bicubic",) and context.settings.roots == {tmp_path.name: tmp_path.resolve()}
    context.store.close()
    context.lock.release()
    with pytest.raises(OptionError, match="max-jobs"):
        create_app(tmp_path / "other", max_jobs=0)
