"""CondensedBufferWithLogits: for strategies that replay what the network said, as DER does."""

from collections.abc import Callable
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset, make_avalanche_dataset
from avalanche.benchmarks.utils.data_attribute import TensorDataAttribute
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.models import avalanche_forward
from torch import Tensor, nn

from ..condensed.image_set import ImageSet
from ..replay.memory import Group
from ..replay.standardize import to_dtype
from ..replay.waiting import Waiting, kept_rows
from ..runtime.distributed import Peers
from .experience import RealImages
from .storage_policy import CondensedBuffer

__all__ = ["CondensedBufferWithLogits"]

BATCH = 64  # images asked about at a time


class CondensedBufferWithLogits(CondensedBuffer):
    """A :class:`CondensedBuffer` whose items are (x, y, task label, logits), for ``DER``.

    The logits are those of the strategy's network, in eval mode, for the images as they lie in the memory: computed
    when an image enters it, kept with it, and cut with it. They take 4 bytes for each output and training image, beside
    the memory's own ``nbytes``: :attr:`logit_bytes`. The network must have all its outputs from the beginning.

    Raises:
        ValueError: likewise, and for a ``memory`` that holds images.

    >>> import torch
    >>> from avalanche.training.supervised.der import DER
    >>> from dm_replay import CondensedBufferWithLogits
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> strategy = DER(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), mem_size=200, evaluator=None)
    >>> strategy.storage_policy = CondensedBufferWithLogits(200)
    """

    def __init__(self, *args, **settings):
        self._logits: dict[Group, Tensor] = {}
        self._waiting: dict[Group, Waiting] = {}
        self._with_logits: AvalancheDataset | None = None
        self._asks: nn.Module | None = None
        super().__init__(*args, **settings)
        if len(self.memory):
            raise ValueError("the images that a memory begins with have no logits: fill an empty one, with the model")

    @property
    def buffer(self) -> AvalancheDataset:
        if not len(self.memory):
            return super().buffer
        if self._with_logits is None:
            rows = [row for group in self.memory.groups for row in self._logits[group]]
            logits = TensorDataAttribute(FlatData([rows]), name="logits", use_in_getitem=True)
            self._with_logits = make_avalanche_dataset(super().buffer, data_attributes=[logits])
        return self._with_logits

    @property
    def logit_bytes(self) -> int:
        return sum(logits.nbytes for logits in self._logits.values())

    def post_adapt(self, agent, exp, num_workers: int = 0) -> None:
        """Condense an experience into the memory and ask the agent's network about what is new there."""
        self._asks = agent.model
        super().post_adapt(agent, exp, num_workers)
        self._of_strategy = True

    def fill(
        self, dataset: Any, task: int | None = None, num_workers: int = 0, *, model: nn.Module | None = None
    ) -> None:
        """As :meth:`CondensedBuffer.fill`; the model is asked for the logits.

        Raises:
            ValueError: likewise, and if there is no model.
        """
        if model is None:
            raise ValueError("the logits of old data are those of a trained network: give fill the model, too")
        self._asks, self._of_strategy = model, True
        super().fill(dataset, task, num_workers, model=model)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_with_logits": None, "_asks": None}

    def _put(self, aside: list[RealImages], into: Callable[..., Any]) -> None:
        """If the network cannot be asked, the memory is as it was."""
        memory, before = self.memory, self.memory.counts
        logits, held = (dict(self._logits), dict(self._waiting)), dict(vars(memory))
        super()._put(aside, into)
        try:
            waited = held["waiting"].keys() - memory.waiting  # and are condensed now, though none may have come
            new = {
                group: part
                for group, part in memory.groups.items()
                if before.get(group) != memory.counts[group] or group in waited
            }
            with Peers.of_job().together():
                asked = {group: self._asked(group[0], part) for group, part in new.items()}
        except BaseException:
            vars(memory).update(held)
            self._logits, self._waiting = logits
            self._refresh()
            raise
        self._logits |= asked
        self._refresh()

    def _refresh(self) -> None:
        super()._refresh()
        self._with_logits = None
        for group, part in self.memory.groups.items():
            if len(self._logits.get(group, ())) > part.decoded:
                self._logits[group] = self._cut(group, len(part), part.codec.images_per_stored)
        self._waiting = dict(self.memory.waiting)

    def _cut(self, group: Group, share: int, tiles: int) -> Tensor:
        """Those of the images of a group that are left, as the memory is cut."""
        logits, waiting = self._logits[group], self._waiting.get(group, Waiting())
        rows = kept_rows(len(logits) // tiles - waiting.stored, waiting, share)
        return logits[(rows[:, None] * tiles + torch.arange(tiles)).flatten()]

    @torch.no_grad()
    def _asked(self, task: int, part: ImageSet) -> Tensor:
        """(training images, outputs) float32 on the CPU."""
        assert self._asks is not None
        model, training = self._asks, self._asks.training
        device, logits = next(model.parameters()).device, []
        model.eval()
        try:
            for rows in torch.arange(part.decoded).split(BATCH):
                images = to_dtype(part.decode(rows), self._form.pixel).to(device)
                tasks = torch.full((len(rows),), task, device=device)
                logits.append(avalanche_forward(model, images, tasks).float().cpu())
        finally:
            model.train(training)
        return torch.cat(logits)
