"""Strategies and plugins of Avalanche with our buffer: wherever its own ClassBalancedBuffer works, ours does."""

import warnings

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.models import MTSimpleMLP
from avalanche.training.storage_policy import ClassBalancedBuffer
from hosts import COMPANIONS, HOSTS, SIZE, STREAMS
from streams import CLASSES, QUICK, labelled, of_tensors, strategy

from dm_replay.plugins.logits import CondensedBufferWithLogits
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer

# The stock buffer adds a task label to items without an attribute for it, and those cannot be collated with the data.
WITHOUT, IN_ITEMS = list(STREAMS)[:2], "task labels in the items, tensors"
FUSSY = ("ReplayPlugin", "RARPlugin", "RARPlugin, adversarial")
STOCK_FAILS = {(host, stream) for host in FUSSY for stream in (*WITHOUT, IN_ITEMS)}
STOCK_FAILS |= {(host, IN_ITEMS) for host in ("MIRPlugin", "ER_ACE")}


def train(host, stream, policy):
    learner = HOSTS[host].learner(policy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the host's own deprecations
        for experience in STREAMS[stream]().train_stream:
            learner.train(experience)
    assert len(policy.buffer) == SIZE


PAIRS = [(name, stream) for name, host in HOSTS.items() for stream in host.streams]


@pytest.mark.parametrize(("host", "stream"), PAIRS)
def test_every_host_takes_the_buffer(host, stream):
    train(host, stream, HOSTS[host].policy(SIZE, **QUICK))


@pytest.mark.parametrize(
    ("host", "stream"),
    [(host, stream) for host, stream in PAIRS if HOSTS[host].stock and (host, stream) not in STOCK_FAILS],
)
def test_where_the_stock_buffer_works(host, stream):
    train(host, stream, ClassBalancedBuffer(SIZE))


@pytest.mark.parametrize("companion", COMPANIONS)
def test_other_plugins_beside_ours(companion):
    replay = DMReplayPlugin(SIZE, **QUICK)
    learner = strategy(replay)
    learner.plugins.append(COMPANIONS[companion](learner))
    for experience in labelled().train_stream:
        learner.train(experience)
    assert len(replay.storage_policy.buffer) == SIZE


def test_a_model_with_a_head_for_each_task():
    replay = DMReplayPlugin(12, **QUICK)
    learner = strategy(replay, model=MTSimpleMLP(input_size=64, hidden_size=8))
    for experience in labelled(task_labels=True, class_ids_from_zero_in_each_exp=True).train_stream:
        learner.train(experience)
    assert [len(part) for part in replay.storage_policy.memory.groups.values()] == [2] * 6


def test_items_are_like_those_of_the_data():
    for stream, kinds in (("no task labels", [int]), ("no task labels, tensors", [torch.Tensor])):
        buffer = CondensedBuffer(SIZE, **QUICK)
        buffer.post_adapt(None, STREAMS[stream]().train_stream[0])
        assert [type(part) for part in buffer.buffer[0][1:]] == kinds
    buffer.post_adapt(None, of_tensors(task_in_item=True).train_stream[2])
    assert [(int(y), int(t)) for _, y, t in buffer.buffer] == 2 * [(0, 0)] + 2 * [(1, 0)] + 2 * [(4, 2)] + 2 * [(5, 2)]


class Failing(torch.nn.Module):
    def forward(self, images):
        raise MemoryError


def test_a_network_that_cannot_be_asked_leaves_memory_and_logits_as_they_were():
    policy = CondensedBufferWithLogits(SIZE, **QUICK)
    learner = HOSTS["DER, DER++"].learner(policy)
    first, second, _ = labelled().train_stream
    learner.train(first)
    before, logits = dict(policy.memory.held), dict(policy._logits)
    learner.experience, learner.model[1].forward = second, Failing().forward
    with pytest.raises(MemoryError):
        policy.post_adapt(learner, second)
    assert policy.memory.held == before and policy._logits == logits and learner.model.training
    assert len(policy.buffer) == SIZE and policy.memory.updates == 1


def test_what_is_flushed_has_logits_and_cut_ones_are_let_go():
    policy = CondensedBufferWithLogits(SIZE, **QUICK)
    learner = HOSTS["DER, DER++"].learner(policy)
    parts = split_online_stream(labelled().train_stream, experience_size=6, access_task_boundaries=True, seed=0)
    for part in parts:
        policy.post_adapt(learner, part)
    policy.flush()
    assert {len(item) for item in policy.buffer} == {4} and len(policy.buffer) == SIZE
    assert sum(logits.untyped_storage().nbytes() for logits in policy._logits.values()) == policy.logit_bytes


def test_logits_are_of_the_network_as_it_was_when_an_image_came():
    policy = CondensedBufferWithLogits(SIZE, tiles=2, **QUICK)
    learner = HOSTS["DER, DER++"].learner(policy)
    said = {}
    for number, experience in enumerate(labelled().train_stream):
        learner.train(experience)
        assert learner.model.training
        learner.model.eval()
        for group in list(policy.memory.groups)[2 * number :]:
            said[group] = learner.model(policy.memory.groups[group].images).detach()
    items = list(policy.buffer)
    assert len(items) == 4 * SIZE and {len(item) for item in items} == {4}
    whole = torch.stack([logits for *_, logits in items])
    expected = [said[group][: part.decoded] for group, part in policy.memory.groups.items()]
    torch.testing.assert_close(whole, torch.cat(expected))
    assert policy.logit_bytes == 4 * SIZE * CLASSES * 4
    assert [len(logits) for logits in policy._logits.values()] == [8, 8, 4, 4, 4, 4]
