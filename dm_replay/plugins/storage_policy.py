"""CondensedBuffer: a CondensedMemory as Avalanche's replay plugins know their buffers."""

import contextlib
import weakref
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.distributed import DistributedHelper
from torch import nn

from ..condensed.codec import Codec
from ..coresets.reducer import Reducer
from ..matching.config import CondenseConfig
from ..replay.job import agreed
from ..replay.memory import CondensedMemory
from ..runtime.distributed import Peers
from ..runtime.settings import whole_number
from ..runtime.stages import StageBar, watched_by
from .buffer import MemoryBuffer
from .experience import (
    RealImages,
    as_task,
    at_boundary,
    groups_of,
    groups_of_all,
    hides_boundaries,
    inspect,
    read,
    readable,
    warn_if_random,
)
from .settings import Attempt, OfTask, check_begun, condense_config, noting

__all__ = ["CondensedBuffer"]

STRATEGY = "strategy"


class CondensedBuffer(MemoryBuffer):
    """A replay buffer of condensed images, for any plugin that takes a ``storage_policy``.

    A mini-experience of an online stream is set aside, and the stream is condensed at its task boundaries. Where it
    hides them, images wait in the memory, within its size, and are replayed at once; they are condensed when there are
    enough, see :meth:`CondensedMemory.add`.

    Where a process group is open, its processes are to give their buffers the same experiences: they share the
    condensing out by classes, have equal memories in the end, and what fails in one fails in all.

    An error leaves the memory as it was and gives up what was set aside with the images that
    caused it. After Ctrl-C the same experience can be given again, as if it came first then.

    Args:
        max_size: images in all. mem_bytes: bytes in all, instead; ``max_size`` is then this number.
        ipc: a fixed number of images per class; by default the classes seen share ``max_size``.
        kind: "condensed"; real images, "random", "herding" or "kmeans"; or a :class:`Reducer` of your own.
            real_fraction: of "condensed", the part of each class that are herded ones.
        codec: how images are stored, instead of the settings ``tiles``, ``storage`` and ``resolution``.
        config: how to condense; or give its fields as keywords, such as ``iterations=2000``. The
            default is 200 iterations, or as many as 60 seconds suffice for, which is for the patience of CPU users; on
            a GPU take 2,000 to 20,000. Leave ``flip`` out of ``augment`` where mirror images mean something else.
        seed: of everything random in the memory and its replay.
        progress: whether to show a bar while condensing (on a terminal only).
        memory: that it begins with, instead of all of these but ``progress``: a :class:`CondensedMemory` that was
            loaded or begun from a set. Its items are (x, y) until an experience says what else they have.
        extractors: "strategy" condenses with the strategy's own network as it is after an experience, instead of
            networks of ``config``; it has to be given as a keyword. Numbers are the field of ``config``.

    Attributes:
        memory: the :class:`CondensedMemory`. seconds: how long its last update took.

    Raises:
        ValueError: a setting is unknown or cannot be used on this machine.

    >>> from avalanche.training.plugins import ReplayPlugin
    >>> from dm_replay import CondensedBuffer
    >>> ReplayPlugin(mem_size=200, storage_policy=CondensedBuffer(200, iterations=1000)).storage_policy.max_size
    200
    """

    def __init__(
        self,
        max_size: int | None = None,
        ipc: int | None = None,
        *,
        mem_bytes: int | None = None,
        kind: str | Reducer = "condensed",
        real_fraction: float = 0.0,
        codec: Codec | None = None,
        config: CondenseConfig | None = None,
        seed: int = 0,
        memory: CondensedMemory | None = None,
        progress: bool = True,
        **settings: Any,
    ):
        self._with_strategy = settings.get("extractors") == STRATEGY
        if self._with_strategy:
            settings["extractors"] = 1  # the one network given
        about = dict(mem_bytes=mem_bytes, kind=kind, real_fraction=real_fraction, codec=codec)
        if memory is None:
            config = condense_config(config, settings)
            memory = CondensedMemory(max_size, ipc, config, seed, **about)  # type: ignore[arg-type]
        else:
            if self._with_strategy:
                del settings["extractors"]
            check_begun(memory, mem_size=max_size, ipc=ipc, config=config, seed=seed, **about, **settings)
        self.progress = progress
        self.seconds = 0.0
        self._aside: list[RealImages] = []
        self._ahead: tuple[Any, RealImages] | None = None
        self._checked = False
        self._model: nn.Module | None = None
        self._attempt: Attempt | None = None
        self._strategy: weakref.ref | None = None  # that has been trained; None also after loading
        super().__init__(memory)

    def update(self, strategy, num_workers: int = 0, **kwargs) -> None:
        """Condense ``strategy.experience`` into the memory."""
        self.post_adapt(strategy, strategy.experience, num_workers)

    def post_adapt(self, agent, exp, num_workers: int = 0) -> None:
        """Condense an experience into the memory; nothing is asked of the agent but whose buffer this is."""
        self._of_strategy = getattr(agent, "storage_policy", None) is self
        if self._with_strategy:
            self._model = DistributedHelper.unwrap_model(agent.model)
        if at_boundary(exp, "is_first_subexp"):
            self.flush()
        peers = Peers.of_job()
        with peers.together():
            aside = [*self._aside, self.read_ahead(exp, num_workers)]
            self._ahead = None
            shape = self.memory.check_shapes(part.images.shape[1:] for part in aside)
            shares = self.memory.shares(groups_of_all(aside), shape)
            hidden = hides_boundaries(exp)
            due = hidden or at_boundary(exp, "is_last_subexp")
            due = agreed(peers, (due, shares), due)
        if due:
            self._put(aside, self.memory.add if hidden else self.memory.update)
        else:
            self._aside = aside

    def begin(self, strategy) -> None:
        """Before ``strategy.experience`` is trained: as :meth:`prepare`, and undo what it left if it had failed.

        Raises:
            ValueError: likewise, and if the memory is that of another strategy.
        """
        if self._strategy is not None and self._strategy() is not strategy and (len(self.memory) or self._aside):
            raise ValueError(
                f"the memory holds {len(self.memory)} images of another strategy's stream: make a new plugin for each "
                "strategy, with memory=plugin.storage_policy.memory to go on with this one"
            )
        if self._attempt is not None and self._attempt.of(strategy.experience):
            self._attempt.undo(self)
        self.prepare(strategy.experience)
        self._strategy, self._attempt = weakref.ref(strategy), Attempt(self, strategy.experience)

    def done(self) -> None:
        """After experiences were trained: trained again, they count again."""
        self._attempt = None

    def prepare(self, exp) -> None:
        """Before an experience: condense what came before, and raise now if it cannot be condensed or will not fit."""
        if at_boundary(exp, "is_first_subexp"):
            self.flush()
        with Peers.of_job().together():
            self._check(exp.dataset)

    def fill(
        self, dataset: Any, task: int | None = None, num_workers: int = 0, *, model: nn.Module | None = None
    ) -> None:
        """Condense old data into the memory, as if it had been an experience: for a model that has learnt it already.

        Args:
            dataset: an Avalanche dataset, or any other of items (x, y) or (x, y, task label), whose images are those
                that the stream gives at test time.
            task: of items without task label; 0 by default.
            num_workers: that read it.
            model: the trained network, which ``extractors="strategy"`` and stored logits need.

        Raises:
            ValueError: as for an experience that cannot be condensed or will not fit; the memory is as it was.
        """
        if self._with_strategy and model is None:
            raise ValueError('extractors="strategy" condenses with a trained network: give fill the model, too')
        self.flush()
        self.done()
        with Peers.of_job().together():
            dataset = readable(dataset)
            self._check(dataset)
            real = as_task(self._read(dataset, num_workers), None if task is None else whole_number("task", task, 0))
        self._model = DistributedHelper.unwrap_model(model) if self._with_strategy else None
        self._put([real], self.memory.update)

    def _check(self, dataset: AvalancheDataset) -> None:
        """Raise now if it cannot be condensed, together with what is set aside, or will not fit."""
        shape, form = inspect(dataset)
        shape = self.memory.check_shapes([shape, *(part.images.shape[1:] for part in self._aside)])
        self.memory.reducer.check(self.memory.fitted(shape).working_shape(shape))
        self.memory.shares(groups_of_all(self._aside) | groups_of(dataset, form), shape)

    def read_ahead(self, exp, num_workers: int = 0) -> RealImages:
        """An experience's images, which :meth:`post_adapt` then need not read again."""
        dataset = exp.dataset
        if self._ahead is None or self._ahead[0] is not dataset:
            self._ahead = None
            self._ahead = dataset, self._read(dataset, num_workers)
        return self._ahead[1]

    def flush(self) -> None:
        """Condense what is set aside, if anything is."""
        if self._aside:
            self._put(self._aside, self.memory.update)

    def resize(self, strategy, new_size: int) -> None:
        """As :meth:`CondensedMemory.resize`, in images or bytes as before."""
        self.done()
        super().resize(strategy, new_size)

    def __getstate__(self) -> dict[str, Any]:
        passing = dict.fromkeys(("_buffer", "_model", "_ahead", "_attempt", "_strategy"))
        return {**self.__dict__, **passing}

    def _put(self, aside: list[RealImages], into: Callable[..., Any]) -> None:
        """What raises an error now would raise it again, so it is given up; what Ctrl-C stopped would not."""
        started, peers = perf_counter(), Peers.of_job()
        try:
            real = RealImages.join(aside)
            shown = self.progress and peers.world.main
            bar = StageBar("condensing", quiet=None if shown else True, leave=False)
            with contextlib.closing(bar), watched_by(bar):
                networks = None if self._model is None else partial(OfTask, self._model)
                into(real.pools(), noting(bar) if bar.shown else None, networks, peers)
        except Exception:
            self._aside = []
            raise
        self.seconds, self._aside, self._form = perf_counter() - started, [], real.form
        self._refresh()

    def _read(self, dataset: AvalancheDataset, num_workers: int) -> RealImages:
        real = read(dataset, num_workers)
        if not self._checked:
            warn_if_random(dataset)
            self._checked = True
        return real
