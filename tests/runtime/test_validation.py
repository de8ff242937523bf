import json
from dataclasses import asdict

import numpy as np
import pytest

from dm_replay import CondenseConfig, EvalConfig


def test_numpy_numbers_are_numbers():
    config = CondenseConfig.preset(
        "paper", ipc=np.int64(3), iterations=np.int32(7), lr_img=np.float32(0.5), prefix_weight=np.float64(0.1)
    )
    assert config == CondenseConfig.preset("paper", ipc=3, iterations=7, lr_img=0.5, prefix_weight=0.1)
    assert json.loads(json.dumps(asdict(config)))["iterations"] == 7
    assert EvalConfig(epochs=np.int64(5), lr=np.float64(0.25)) == EvalConfig(epochs=5, lr=0.25)


@pytest.mark.parametrize("value", [np.float64(2.5), np.int64(0), "3", 2.0])
def test_what_is_no_whole_number_or_too_small_is_refused(value):
    with pytest.raises(ValueError, match="ipc must be a whole number of at least 1"):
        CondenseConfig.preset("paper", ipc=value)


@pytest.mark.parametrize("budget", [float("inf"), 1e300])
def test_a_budget_is_what_a_machine_can_have(budget):
    with pytest.raises(ValueError, match="memory_budget must be above 0 GiB, got .*, and what a machine can have"):
        CondenseConfig.preset("paper", memory_budget=budget)
