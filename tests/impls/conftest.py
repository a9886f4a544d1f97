"""Fixtures of the lab tests: quiet libraries, an untrained base of the scenes world, its world."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from reference_impls.core.command_line import quiet_libraries
from reference_impls.core.model.load import load
from reference_impls.core.model.policy import Policy
from reference_impls.core.worlds import protocol

quiet_libraries()
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder of a base of the scenes world that has learnt nothing: enough where training is not
    what is tested, and it takes a second to make."""
    from reference_impls.core.model import base
    from reference_impls.core.worlds.scenes import text

    torch.manual_seed(0)
    model, processor = base.build(text.WORDS, base.Size(image=64, patch=8, hidden=32))
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def loaded(tiny_base):
    """(model, processor) of that base, fresh for each test."""
    return load(tiny_base)


@pytest.fixture
def policy(loaded):
    return Policy(*loaded, seed=1)


@pytest.fixture(scope="session")
def world():
    return protocol.world("scenes")


def pytest_collection_modifyitems(items):
    """Libraries below ours warn about themselves; our own warnings stay errors."""
    for item in items:
        if "tests/impls" in str(item.path):
            for module in ("torch", "transformers", "trl", "accelerate", "datasets", "peft"):
                item.add_marker(pytest.mark.filterwarnings(rf"ignore:::{module}\b.*"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
