"""Where the user reads along: whole log lines, and a progress bar below them while there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from unfreeze.report.lines import plain

T = TypeVar("T")

_SECONDS_BETWEEN_REFRESHES = 0.1
_ROOM_FOR_A_BAR = 80  # columns; in a narrower terminal the numbers matter more


class RunConsole:
    """Prints log lines as they are, and shows progress bars where somebody sees them.

    A line is neither wrapped, cut, coloured nor read as markup (``[PARAMS]`` looks like it), and a stream
    that cannot encode its icons gets plain words. Into a pipe or a file go only the lines, no bars.

    Args:
        file: a text stream; standard output where not given.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self.rich = Console(file=file, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def print(self, line: str = "") -> None:
        """One line, above a running progress bar."""
        self.rich.print(plain(line, self.rich.encoding))

    def progress(self, title: str, total: int) -> BatchProgress:
        """A context manager whose bar counts ``total`` batches and is gone at its end."""
        return BatchProgress(self.rich, plain(title, self.rich.encoding), total)


class BatchProgress:
    """A progress bar over batches. ``track`` counts them, ``show`` says how it goes."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        # Drawn by track and show, not by a thread: data-loading workers are forked while the bar is up, and a
        # fork must not happen while another thread holds the console.
        roomy = console.width >= _ROOM_FOR_A_BAR
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=14), TimeRemainingColumn(compact=True)] if roomy else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal or console.is_dumb_terminal,
        )
        self._task = self._bar.add_task(title, total=total, news="")
        self._drawn = time.monotonic()

    def __enter__(self) -> BatchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def track(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, each counted when the next one is asked for."""
        for batch in batches:
            yield batch
            self.advance()

    def advance(self, amount: float = 1) -> None:
        """One more is done, or a part of one."""
        self._bar.advance(self._task, amount)
        self._draw()

    def show(self, *, loss: float, clips_per_second: float, waiting: float) -> None:
        """The news beside the bar.

        Args:
            loss: mean over the epoch so far.
            clips_per_second: since the epoch began.
            waiting: the share (0 … 1) of the time spent waiting for data.
        """
        self.tell(f"loss {loss:.3g}  {clips_per_second:.3g} clips/s  {100 * waiting:.0f}% data wait")

    def tell(self, news: str) -> None:
        """Anything else beside the bar."""
        self._bar.update(self._task, news=news)
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= _SECONDS_BETWEEN_REFRESHES:
            self._drawn = now
            self._bar.refresh()
