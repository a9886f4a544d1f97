"""Fixtures of the lab tests: quiet libraries, the shipped base, a script by name."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from reference_impls.core import base, models
from reference_impls.core.command_line import quiet_libraries
from reference_impls.core.policy import Policy
from reference_impls.core.worlds import DrawnWorld, scenes

quiet_libraries()


@pytest.fixture(scope="session")
def base_path():
    return str(base.path(scenes))


@pytest.fixture(scope="session")
def loaded(base_path):
    """(model, processor) of the shipped base; tests must not train this one."""
    return models.load(base_path)


@pytest.fixture
def policy(loaded):
    return Policy(*loaded, seed=1)


@pytest.fixture
def world():
    return DrawnWorld(scenes, "pairs", 24, 1)


def pytest_collection_modifyitems(items):
    """Libraries below ours warn about themselves; our own warnings stay errors."""
    for item in items:
        if "tests/impls" in str(item.path):
            for module in ("torch", "transformers", "trl", "accelerate", "datasets", "peft"):
                item.add_marker(pytest.mark.filterwarnings(rf"ignore:::{module}\b.*"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
