import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# A dataset that is not on this machine is asked for in the net, again and again for 23
# seconds where there is none. No test wants one. Before anything imports huggingface_hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import d3rlpy
import pytest
import structlog
import torch

sys.path.insert(0, str(Path(__file__).parent))

from strangers import install  # noqa: F401  # a fixture

collect_ignore = ["example_plugin"]  # its tests run where it is installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a simulator in a file that stays as version 0.1 left it."""
    if find_spec("gymnasium_robotics") is None:
        for item in items:
            if item.name.startswith("test_a_local_dataset_loads_with_the_environment"):
                item.add_marker(pytest.mark.skip(reason="needs the extra mujoco"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    d3rlpy.seed(0)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A shell's background jobs ignore Ctrl-C, and some tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def quiet() -> None:
    torch.set_num_threads(1)  # toys are too small for two
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30)  # warnings
    )


@pytest.fixture
def talkative(quiet: None) -> Iterator[None]:
    """For tests of what is logged."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))  # info
    yield
    structlog.configure(wrapper_class=before)


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "minari"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root
