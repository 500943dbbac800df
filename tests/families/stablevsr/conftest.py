import pytest

from starvsr.families.registry import get_entry
from tests.support.stablevsr_folder import copy_folder, write_folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("published") / "StableVSR")


@pytest.fixture
def folder(published, tmp_path):
    return copy_folder(published, tmp_path / "StableVSR")


@pytest.fixture(scope="session")
def model(published):
    """Loaded once; tests that change it load their own."""
    return get_entry("stablevsr").load(weights=published, flow="dis")
