"""On an accelerator a compiled function is believed after its first call has given what the plain one gives."""

import pytest
import torch
from torch import nn

from dm_replay.runtime import acceleration
from dm_replay.runtime.acceleration import compiled
from dm_replay.runtime.engine import Engine

CPU = torch.device("cpu")


def engine(**how):
    return Engine(CPU, torch.float32, True, 64, **how)


def loss(network, x):
    return network(x).square().sum()


def detached(network, x):
    """The same value, with half the gradient."""
    return (loss(network, x) + loss(network, x).detach()) / 2


@pytest.fixture
def compile_to(monkeypatch):
    """What the compiler makes of a function."""

    def planted(fast):
        monkeypatch.setattr(acceleration.torch, "compile", lambda function, dynamic: fast)

    monkeypatch.setattr(Engine, "accelerated", True)
    return planted


@pytest.mark.parametrize(
    ("fast", "said"),
    [
        (lambda network, x: 2 * loss(network, x), "its result differs by 100%"),
        (detached, "its gradient differs by 50%"),
        (lambda network, x: loss(network, x) * float("nan"), "its result differs by inf"),
    ],
    ids=["value", "gradient", "nan"],
)
def test_a_wrong_compiled_function_is_not_used(compile_to, fast, said):
    compile_to(fast)
    network, x = nn.Linear(3, 2), torch.ones(4, 3)
    where = engine(check={"checked": True, "fallback": None})
    run = compiled(loss, where)
    with pytest.warns(UserWarning, match=f"running uncompiled: Disagreement: {said}") as caught:
        results = [run(network, x) for _ in range(3)]
    assert len(caught) == 1 and all(torch.equal(result, loss(network, x)) for result in results)
    assert said in where.check["uncompiled"]


def test_a_right_one_is_asked_once(compile_to, recwarn):
    calls = []
    compile_to(lambda *args: calls.append(1) or loss(*args) * 1.01)
    run, x = compiled(loss, engine()), torch.ones(4, 3, requires_grad=True)
    network = nn.Linear(3, 2).requires_grad_(False)
    assert torch.equal(run(network, x), loss(network, x) * 1.01)
    run(network, x)
    assert len(calls) == 3 and not recwarn


def test_predictions_may_differ_here_and_there(compile_to, recwarn):
    right = torch.arange(20)
    compile_to(lambda x: x.index_fill(0, torch.tensor([3]), 0))
    assert compiled(lambda x: x, engine())(right)[3] == 0 and not recwarn


def test_a_lack_of_memory_is_raised(compile_to):
    def hungry(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    compile_to(hungry)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(loss, engine())(nn.Linear(3, 2), torch.ones(4, 3))


def test_what_cannot_be_compiled_runs_plain(compile_to):
    def refused(*args):
        raise NotImplementedError("no such backend\nand more")

    compile_to(refused)
    with pytest.warns(UserWarning, match="running uncompiled: NotImplementedError: no such backend$"):
        assert compiled(loss, engine())(nn.Linear(3, 2), torch.ones(4, 3)).ndim == 0
