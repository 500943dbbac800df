from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole release as its authors lay it out, with tiny random weights."""
    from tests.models.cogvideox.release import write_release

    folder = tmp_path_factory.mktemp("release") / "CogVideoX-5B-based"
    write_release(folder)
    return folder


@pytest.fixture(scope="session")
def model(release: Path):
    """Loaded once from the release."""
    from starvsr.families.registry import get_entry

    return get_entry("star-cogvideox-5b").load(weights=release)
