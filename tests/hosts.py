"""What of Avalanche takes the buffer: built for the tests, which show it, and the table of docs/avalanche.md."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from avalanche.models import NCMClassifier, SCRModel, TrainEvalModel
from avalanche.training.plugins import (
    CoPEPlugin,
    EarlyStoppingPlugin,
    EWCPlugin,
    GDumbPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    MIRPlugin,
    RARPlugin,
    ReplayPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.plugins.update_ncm import MemoryNCMUpdate
from avalanche.training.supervised import SCR
from avalanche.training.supervised.der import DER
from avalanche.training.supervised.er_ace import ER_ACE
from streams import CLASSES, SCENARIOS, labelled, of_tensors, plain, strategy
from torch import nn

from dm_replay.plugins.logits import CondensedBufferWithLogits
from dm_replay.plugins.storage_policy import CondensedBuffer

SIZE = 8
STREAMS = {
    "no task labels": plain,
    "no task labels, tensors": of_tensors,
    "task label 0": labelled,
    "task labels in the items, tensors": lambda: of_tensors(task_in_item=True),
    "a task each": lambda: labelled(task_labels=True),
}
WITH_TASKS = ("task label 0", "a task each")


@dataclass(frozen=True)
class Host:
    """A strategy or plugin that has a buffer.

    Attributes:
        learner: policy -> a strategy that uses it. how: the policy gets there, as the guide says it.
        streams: names of STREAMS that it is tried with. stock: whether Avalanche's own buffer fits it, too.
    """

    learner: Callable
    how: str
    streams: tuple[str, ...] = tuple(STREAMS)
    stock: bool = True
    policy: type[CondensedBuffer] = CondensedBuffer


def with_policy(owner, policy):
    owner.storage_policy = policy
    return owner


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))


def _sgd(network) -> dict:
    return dict(model=network, optimizer=torch.optim.SGD(network.parameters(), 0.1), evaluator=None)


def _er_ace(policy):
    return with_policy(ER_ACE(mem_size=SIZE, batch_size_mem=4, train_mb_size=8, **_sgd(model())), policy)


def _der(policy):
    return with_policy(DER(mem_size=SIZE, batch_size_mem=4, train_mb_size=8, **_sgd(model())), policy)


def _scr(policy):
    features = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    learner = SCR(mem_size=SIZE, batch_size_mem=4, train_mb_size=8, **_sgd(SCRModel(features, nn.Linear(16, 8))))
    with_policy(learner.replay_plugin, policy)
    return learner


class Features(nn.Sequential):
    """A network whose last linear layer CoPE replaces by its own."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 16))


def _ncm(policy):
    features = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    network = TrainEvalModel(features, train_classifier=nn.Linear(16, CLASSES), eval_classifier=NCMClassifier())
    return strategy(MemoryNCMUpdate(storage_policy=policy), model=network)


BY_ARGUMENT = "`storage_policy=`"
AFTERWARDS = "`plugin.storage_policy = …`"
OF_STRATEGY = "`strategy.storage_policy = …`"
HOSTS = {
    "ReplayPlugin": Host(lambda policy: strategy(ReplayPlugin(SIZE, storage_policy=policy)), BY_ARGUMENT),
    "RARPlugin": Host(
        lambda policy: strategy(RARPlugin(4, SIZE, use_adversarial_replay=False, storage_policy=policy)), BY_ARGUMENT
    ),
    "RARPlugin, adversarial": Host(
        lambda policy: strategy(RARPlugin(4, SIZE, name_ext_layer="1", storage_policy=policy), model=model()),
        BY_ARGUMENT,
    ),
    "MemoryNCMUpdate (the classifier of iCaRL)": Host(_ncm, BY_ARGUMENT, WITH_TASKS),
    "MIRPlugin": Host(lambda policy: strategy(with_policy(MIRPlugin(2, SIZE, subsample=4), policy)), AFTERWARDS),
    "GDumbPlugin": Host(lambda policy: strategy(with_policy(GDumbPlugin(SIZE), policy)), AFTERWARDS),
    "CoPEPlugin": Host(
        lambda policy: strategy(with_policy(CoPEPlugin(SIZE, n_classes=CLASSES, p_size=16), policy), model=Features()),
        AFTERWARDS,
        WITH_TASKS,
    ),
    "ER_ACE": Host(_er_ace, OF_STRATEGY),
    "SCR": Host(_scr, "`strategy.replay_plugin.storage_policy = …`", WITH_TASKS),
    "DER, DER++": Host(
        _der, "`strategy.storage_policy = CondensedBufferWithLogits(…)`", WITH_TASKS, False, CondensedBufferWithLogits
    ),
}


def _scheduler(learner):
    return LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(learner.optimizer, 1))


COMPANIONS = {
    "EWCPlugin": lambda learner: EWCPlugin(0.1),
    "LwFPlugin": lambda learner: LwFPlugin(),
    "SynapticIntelligencePlugin": lambda learner: SynapticIntelligencePlugin(0.1),
    "LRSchedulerPlugin": _scheduler,
    "EarlyStoppingPlugin": lambda learner: EarlyStoppingPlugin(1, "test_stream"),
}


def _streams(host: Host) -> str:
    return (
        "with and without task labels, numbers or tensors" if len(host.streams) == len(STREAMS) else "with task labels"
    )


def table() -> str:
    """Streams, strategies by how they get the buffer, and plugins beside ``DMReplayPlugin``, as Markdown."""
    return "\n".join(
        [
            "| with | how | tried with streams |",
            "|---|---|---|",
            f"| **DMReplayPlugin** | in place of `ReplayPlugin` | {'; '.join(SCENARIOS)} |",
            *(f"| {name} | {host.how} | {_streams(host)} |" for name, host in HOSTS.items()),
            f"| {', '.join(COMPANIONS)} | beside `DMReplayPlugin` in `plugins` | with task labels |",
        ]
    )
