"""Strategies and plugins of Avalanche with our buffer: wherever its own ClassBalancedBuffer works, ours does."""

import warnings

import pytest
import torch
from avalanche.training.plugins import GDumbPlugin, MIRPlugin, RARPlugin, ReplayPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from avalanche.training.supervised.er_ace import ER_ACE
from streams import CLASSES, QUICK, labelled, of_tensors, plain, strategy
from torch import nn

from dm_replay.plugins.storage_policy import CondensedBuffer

SIZE = 8
STREAMS = {
    "no task labels": plain,
    "no task labels, tensors": of_tensors,
    "task label 0": labelled,
    "task labels in the items, tensors": lambda: of_tensors(task_in_item=True),
    "a task each": lambda: labelled(task_labels=True),
}
# The stock buffer adds a task label to items without an attribute for it, and those cannot be collated with the data.
STOCK_FAILS = {(host, stream) for host in ("ReplayPlugin", "RAR", "RAR adversarial") for stream in list(STREAMS)[:2]}
STOCK_FAILS |= {(host, "task labels in the items, tensors") for host in ("ReplayPlugin", "RAR", "RAR adversarial")}
STOCK_FAILS |= {(host, "task labels in the items, tensors") for host in ("MIR", "ER_ACE")}


def with_policy(plugin, policy):
    plugin.storage_policy = policy
    return plugin


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))


def er_ace(policy):
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    options = dict(mem_size=SIZE, batch_size_mem=4, train_mb_size=8, evaluator=None)
    return with_policy(ER_ACE(model=network, optimizer=optimizer, **options), policy)


HOSTS = {
    "ReplayPlugin": lambda policy: strategy(ReplayPlugin(SIZE, storage_policy=policy)),
    "RAR": lambda policy: strategy(RARPlugin(4, SIZE, use_adversarial_replay=False, storage_policy=policy)),
    "RAR adversarial": lambda policy: strategy(
        RARPlugin(4, SIZE, name_ext_layer="1", storage_policy=policy), model=model()
    ),
    "MIR": lambda policy: strategy(with_policy(MIRPlugin(2, SIZE, subsample=4), policy)),
    "GDumb": lambda policy: strategy(with_policy(GDumbPlugin(SIZE), policy)),
    "ER_ACE": er_ace,
}


def train(host, stream, policy):
    learner = HOSTS[host](policy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the host's own deprecations
        for experience in STREAMS[stream]().train_stream:
            learner.train(experience)
    assert len(policy.buffer) == SIZE


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_takes_the_buffer(host, stream):
    train(host, stream, CondensedBuffer(SIZE, **QUICK))


@pytest.mark.parametrize(
    ("host", "stream"), [(host, stream) for host in HOSTS for stream in STREAMS if (host, stream) not in STOCK_FAILS]
)
def test_where_the_stock_buffer_works(host, stream):
    train(host, stream, ClassBalancedBuffer(SIZE))


def test_items_are_like_those_of_the_data():
    for stream, kinds in (("no task labels", [int]), ("no task labels, tensors", [torch.Tensor])):
        buffer = CondensedBuffer(SIZE, **QUICK)
        buffer.post_adapt(None, STREAMS[stream]().train_stream[0])
        assert [type(part) for part in buffer.buffer[0][1:]] == kinds
    buffer.post_adapt(None, STREAMS["task labels in the items, tensors"]().train_stream[2])
    assert [(int(y), int(t)) for _, y, t in buffer.buffer] == 2 * [(0, 0)] + 2 * [(1, 0)] + 2 * [(4, 2)] + 2 * [(5, 2)]
