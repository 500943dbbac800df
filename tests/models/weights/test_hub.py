"""Fetching weights from a stand-in Hub on this machine: resumed, checked, cached, and refused in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from starvsr.errors import ResourceError, WeightsError
from starvsr.models.weights.cache import Places, locate
from starvsr.models.weights.components import COMPONENTS, Component, HubFile
from starvsr.models.weights.digests import known_digest, note_of
from starvsr.models.weights.download import fetch, verify
from starvsr.models.weights.progress import FetchProgress
from tests.support.hub_server import COMMIT, StandInHub, serve

CONTENT = bytes(range(256)) * 8192  # 2 MiB
CHUNK = 1 << 16
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = "lab/net/sub/weights.pt"
PART = Component(
    name="net-unet",
    role="unet",
    summary="a network",
    repos=("lab/net",),
    files=(HubFile("sub/weights.pt", size=len(CONTENT), sha256=SHA256),),
    bytes=len(CONTENT),
    licence="MIT",
    layout="star",
)
UNPINNED = replace(PART, files=(HubFile("sub/weights.pt"),))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with serve(StandInHub(files={KEY: CONTENT})) as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.delenv("STARVSR_MODELS", raising=False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
        yield hub


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(cache=tmp_path / "cache")


@pytest.fixture
def refused(hub: StandInHub, places: Places) -> Callable[..., str]:
    """Return the one line with which a download is refused."""

    def get(part: Component = PART, **options: bool) -> str:
        with pytest.raises(WeightsError) as caught:
            fetch(part, places, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return get


def _partials(places: Places) -> list[Path]:
    assert places.cache is not None
    return list(places.cache.rglob("*.incomplete"))


def test_what_is_fetched_is_found_and_not_fetched_again(hub: StandInHub, places: Places) -> None:
    assert locate(PART, places) is None
    reports: list[FetchProgress] = []
    path = fetch(PART, places, on_progress=reports.append)["sub/weights.pt"]
    assert path.read_bytes() == CONTENT
    assert path.parent.parent.name == COMMIT
    assert (reports[-1].stage, reports[-1].num_done, reports[-1].num_bytes) == ("checking", len(CONTENT), len(CONTENT))
    downloaded = [report.num_done for report in reports if report.stage == "downloading"]
    assert downloaded == sorted(downloaded) and downloaded[-1] == len(CONTENT)
    asked = len(hub.seen)
    assert fetch(PART, places) == {"sub/weights.pt": path} == locate(PART, places)
    assert len(hub.seen) == asked
    assert not _partials(places)


def test_library_finds_the_file_too(hub: StandInHub, places: Places) -> None:
    from huggingface_hub import try_to_load_from_cache

    path = fetch(PART, places)["sub/weights.pt"]
    assert try_to_load_from_cache("lab/net", "sub/weights.pt", cache_dir=places.cache) == str(path)


def test_cut_connection_goes_on_where_it_was(hub: StandInHub, places: Places) -> None:
    hub.cut_after, hub.cuts_left = 10 * CHUNK, 2
    assert fetch(PART, places)["sub/weights.pt"].read_bytes() == CONTENT
    starts = [bounds for path, bounds in hub.sent if path.startswith("cdn/")]
    assert starts == [None, f"bytes={10 * CHUNK}-", f"bytes={20 * CHUNK}-"]


def test_interrupted_run_goes_on_in_the_next_one(hub: StandInHub, places: Places) -> None:
    class StoppedError(BaseException):
        pass

    def stop(report: FetchProgress) -> None:
        if report.num_done >= 4 * CHUNK:
            raise StoppedError

    with pytest.raises(StoppedError):
        fetch(PART, places, on_progress=stop)
    (partial,) = _partials(places)
    assert locate(PART, places) is None
    there = partial.stat().st_size
    assert there == 4 * CHUNK
    fetch(PART, places)
    assert hub.sent[-1][1] == f"bytes={there}-"
    assert known_digest(fetch(PART, places)["sub/weights.pt"]) == SHA256


def test_server_that_ignores_ranges_does_not_spoil_the_file(hub: StandInHub, places: Places) -> None:
    hub.cut_after, hub.cuts_left, hub.ignore_ranges = 9 * CHUNK, 1, True
    assert fetch(PART, places)["sub/weights.pt"].read_bytes() == CONTENT


def test_connection_that_never_holds_ends_and_keeps_what_is_there(
    hub: StandInHub, places: Places, refused: Callable[..., str]
) -> None:
    hub.cut_after, hub.cuts_left = 0, 100
    assert "check the connection" in refused()
    hub.cuts_left = 0
    assert fetch(PART, places)


def test_wrong_digest_is_thrown_away(hub: StandInHub, places: Places, refused: Callable[..., str]) -> None:
    hub.files[KEY] = CONTENT[:-1] + b"?"
    line = refused()
    assert "published digest" in line and SHA256 in line
    assert locate(PART, places) is None and not _partials(places)
    hub.files[KEY] = CONTENT
    assert fetch(PART, places)


def test_digest_that_the_hub_promises_counts_when_none_is_published(
    hub: StandInHub, places: Places, refused: Callable[..., str]
) -> None:
    hub.promise[KEY] = "0" * 64
    assert "promises" in refused(UNPINNED)
    assert locate(UNPINNED, places) is None


def test_another_size_than_published_is_refused_before_the_download(
    hub: StandInHub, refused: Callable[..., str]
) -> None:
    hub.files[KEY] = CONTENT + b"more"
    assert "newer starvsr" in refused()
    assert not hub.sent


def test_first_digest_is_noted_and_holds_from_then_on(hub: StandInHub, places: Places) -> None:
    path = fetch(UNPINNED, places)["sub/weights.pt"]
    assert note_of(path).read_text().startswith(f"{SHA256}  weights.pt\n")
    assert [report.sha256 for report in verify(UNPINNED, places)] == [SHA256]
    path.resolve().write_bytes(CONTENT[:-1] + b"?")
    (report,) = verify(UNPINNED, places)
    assert report.sha256 is None and "damaged or replaced" in str(report.problem)
    with pytest.raises(WeightsError, match=r"damaged or replaced.* if you changed it, delete weights.pt.sha256"):
        known_digest(path)
    fetch(UNPINNED, places, force=True)
    assert [report.sha256 for report in verify(UNPINNED, places)] == [SHA256]


def test_verify_tells_what_is_cut_off_and_what_is_not_there(hub: StandInHub, places: Places) -> None:
    (report,) = verify(PART, places)
    assert report.path is None and report.problem == "not on this machine"
    path = fetch(PART, places)["sub/weights.pt"]
    path.resolve().write_bytes(CONTENT[:100])
    (report,) = verify(PART, places)
    assert "has 100 bytes" in str(report.problem)


def test_offline_uses_what_is_there_and_says_what_is_not(
    hub: StandInHub, places: Places, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    path = fetch(PART, places)["sub/weights.pt"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.seen)
    assert fetch(PART, places)["sub/weights.pt"] == path
    assert len(hub.seen) == asked


def test_server_down_still_finds_the_cache(hub: StandInHub, places: Places, refused: Callable[..., str]) -> None:
    path = fetch(PART, places)["sub/weights.pt"]
    hub.broken = 503
    assert fetch(PART, places)["sub/weights.pt"] == path
    assert "error 503" in refused(force=True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda hub: hub.files.clear(), "closed to you"),
        (lambda hub: hub.files.update({"lab/net/other": hub.files.pop(KEY)}), "has no file sub/weights.pt"),
        (lambda hub: hub.gated.add("lab/net"), "accepts its terms"),
        (lambda hub: setattr(hub, "broken", 403), "refuses access"),
        (lambda hub: setattr(hub, "broken", 404), "error 404"),
        (lambda hub: setattr(hub, "broken", 500), "error 500"),
    ],
)
def test_refusals_say_why_and_what_next(
    hub: StandInHub, refused: Callable[..., str], spoil: Callable[[StandInHub], None], words: str
) -> None:
    spoil(hub)
    assert words in refused()


def test_token_is_sent_and_missed(
    hub: StandInHub, places: Places, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    hub.token = "hf_secret"
    assert "HF_TOKEN" in refused()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(PART, places)


def test_second_repository_steps_in(hub: StandInHub, places: Places) -> None:
    moved = replace(PART, repos=("gone/net", "lab/net"))
    path = fetch(moved, places)["sub/weights.pt"]
    assert path.read_bytes() == CONTENT
    assert locate(moved, places) == {"sub/weights.pt": path}


def test_full_disk_is_told_before_the_download(
    hub: StandInHub, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starvsr.models.weights.hub.shutil.disk_usage", lambda path: type("U", (), {"free": 1000}))
    with pytest.raises(ResourceError, match="free some space"):
        fetch(PART, places)
    assert not hub.sent


@pytest.mark.parametrize("place", ["lab/net/sub/weights.pt", "net-unet/sub/weights.pt", "sub/weights.pt", "weights.pt"])
def test_own_folder_comes_first(place: str, tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert locate(PART, replace(places, folder=tmp_path / "mine")) == {"sub/weights.pt": path}
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path / "mine"))
    assert locate(PART, places) == {"sub/weights.pt": path}
    assert fetch(PART, places) == {"sub/weights.pt": path}  # offline, without asking anybody


def test_file_of_the_own_folder_is_checked_too(tmp_path: Path, places: Places) -> None:
    (tmp_path / "weights.pt").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="published digest"):
        fetch(PART, replace(places, folder=tmp_path))


def test_known_digests_are_digests() -> None:
    for part in COMPONENTS.values():
        assert part.repos and part.files and part.bytes > 10**8
        for file in part.files:
            assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))
        assert any(file.sha256 for file in part.files), part.name
