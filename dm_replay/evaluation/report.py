"""Test accuracies, and what was measured."""

import json
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["EvalReport"]


@dataclass(frozen=True)
class EvalReport:
    """Test accuracies in percent, one for each network, each of its last epoch.

    ``mean`` ± ``std`` is over the networks (population standard deviation, as the papers give it).

    >>> from dm_replay import EvalReport
    >>> print(EvalReport((43.0, 45.0), settings={}, seconds=60.0))
    44.00 ± 1.00 % over 2 networks
    """

    accuracies: tuple[float, ...]
    settings: dict
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        return float(np.std(self.accuracies))

    def __str__(self) -> str:
        if len(self.accuracies) == 1:
            return f"{self.mean:.2f} % over 1 network"
        return f"{self.mean:.2f} ± {self.std:.2f} % over {len(self.accuracies)} networks"

    def to_json(self) -> str:
        return json.dumps({"mean": self.mean, "std": self.std, **asdict(self)}, indent=2)
