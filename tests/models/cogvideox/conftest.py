from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole release with tiny random weights, LoRA not merged."""
    from tests.models.cogvideox.release import write_release

    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder
