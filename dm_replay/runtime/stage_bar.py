"""One progress bar over work of several stages."""

import sys

from tqdm import tqdm

__all__ = ["StageBar"]

FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class StageBar:
    """A bar on stderr that a :data:`~dm_replay.runtime.stages.Watch` moves; in a log file, a line every half minute.

    The time left is that of the mean pace so far, since stages go at different ones.
    """

    def __init__(self, title: str, quiet: bool | None = False, leave: bool = True):
        self.live = sys.stderr.isatty()
        pauses = {"mininterval": 0.2, "delay": 0} if self.live else {"mininterval": 30, "delay": 1}
        how = {"bar_format": FORMAT, "smoothing": 0, "miniters": 0, "leave": leave, "disable": quiet, **pauses}
        self.bar = tqdm(desc=title, total=1.0, **how)
        self._stage: str | None = None

    @property
    def shown(self) -> bool:
        return not self.bar.disable

    def __call__(self, stage: str, part: float) -> None:
        """Parts that were over before the first call count as done by an earlier process."""
        if not self.shown:
            return
        if self._stage is None:
            self.bar.initial = self.bar.n = self.bar.last_print_n = part
        if stage != self._stage:
            self._stage = stage
            self.bar.set_description_str(stage, refresh=self.live)
        self.bar.update(max(0.0, min(part, 1.0) - self.bar.n))

    def note(self, text: str) -> None:
        """Shown behind the bar from its next move on."""
        self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        self.bar.close()
