"""Small pools with known contents, and the real data where it is laid out (``DM_DATA``)."""

import os
from pathlib import Path

import pytest
import torch

from dm_replay.data.pool import TensorPool

# Of several processes that share the cores, each has one thread, also in the processes that it starts: two trainings on
# two threads each wait for each other in barriers.
SHARED = "PYTEST_XDIST_WORKER" in os.environ
if SHARED:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    """What takes longest comes first, so that no process waits for it at the end."""
    items.sort(key=lambda item: not getattr(item.module, "ALL_THREADS", False))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the laws of the kernels are checked")


@pytest.fixture(scope="session")
def device(request):
    return request.config.getoption("--device")


@pytest.fixture(autouse=True, scope="module")
def one_thread(request):
    """Most tests' work is so small that it would only wait for a second thread; a module can ask for ALL_THREADS."""
    threads = torch.get_num_threads()
    if SHARED or not getattr(request.module, "ALL_THREADS", False):
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def pool(generator):
    """Three classes (labels 2, 5, 9) of 7, 12 and 9 noisy uint8 images, (3, 8, 8)."""
    labels = torch.tensor([2] * 7 + [5] * 12 + [9] * 9)
    images = torch.randint(0, 256, (len(labels), 3, 8, 8), generator=generator, dtype=torch.uint8)
    return TensorPool(images, labels, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="session")
def data_root():
    root = os.environ.get("DM_DATA")
    if not root or not Path(root, "cifar-10-batches-py").is_dir():
        pytest.skip("real data not laid out: set DM_DATA to a folder with CIFAR-10")
    return root
