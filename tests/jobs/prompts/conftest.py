"""What tests of prompts find ready: a captioner, and models that read text, called as a published one."""

from __future__ import annotations

import pytest

from starvsr.engine.traits import Traits
from starvsr.families.settings import job_names
from starvsr.families.star_i2vgen.settings import StarI2VGenSettings
from tests.jobs.prompts.captioning import Captioner
from tests.support.doubles import NearestUpscaler
from tests.support.tiny_star import TinyStar


@pytest.fixture
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    return Captioner(tmp_path_factory.mktemp("captioner"))


@pytest.fixture(scope="session")
def star() -> TinyStar:
    """A model whose pixels depend on the prompt."""
    made = TinyStar()
    made.name = "star-light"
    return made


@pytest.fixture
def reader() -> NearestUpscaler:
    """A quick model that takes the options of a published one and leaves them unread."""
    return NearestUpscaler(name="star-light", traits=Traits(accepts=job_names(StarI2VGenSettings)))
