"""The cache as a data set uses it: ask for a view's frames, and say how to make them where there are none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from unfreeze.data.clip_cache import entry, ram
from unfreeze.data.clip_cache.choice import Choice
from unfreeze.data.clip_cache.counters import Counters, Stats
from unfreeze.data.clip_cache.entry import DamagedError
from unfreeze.data.clip_cache.expected import MAX_FRAMES
from unfreeze.data.clip_cache.folder import Folder
from unfreeze.data.clip_cache.key import name_of
from unfreeze.data.decode import DecodedVideo, VideoError, pick_decoder, probe
from unfreeze.data.identity import Digests
from unfreeze.data.manifest import View
from unfreeze.wording import in_bytes


class ClipCache:
    """Decoded videos in a folder, shared by all processes of a run, and by runs at once where it is on disk.

    It can be pickled, so that it goes into workers, and holds no file open. Whatever is wrong with the
    folder, training goes on: an entry that is torn or altered counts as none, and when writing fails, nothing
    more is written.

    Args:
        folder: of the entries; it is made.
        limit: of the folder, in bytes. Processes that write at the same instant may pass it by an entry each.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = Folder(folder, limit)
        self._folder.prepare()
        self._counters = Counters()
        self._told: set[str] = set()
        self._remove: Callable[[], object] | None = None
        self._start()

    @property
    def folder(self) -> Path:
        return self._folder.path

    def video(
        self,
        view: View,
        recipe: str,
        make: Callable[[], DecodedVideo],
        *,
        decoder: str = "auto",
        whole: bool = True,
    ) -> DecodedVideo | None:
        """What ``make`` gives for ``view``: from the cache, or else from ``make`` and kept.

        Its frames may be a mapping of the file: pick some (which copies them), and let it go.

        Args:
            recipe: what ``make`` does to the frames, and which it gives, in any words that differ where that
                does; the file, the window, the decoder and the versions of all code are added here.
            make: decodes. It is not called where what it gives could not be kept.
            decoder: that ``make`` uses, as in ``read_frames``.
            whole: ``make`` gives all frames of the view, and not just a few.

        Returns:
            None where the clip is not for the cache: read what is needed of it as if there were none. That is
            so if the view is too long (``MAX_FRAMES``), cannot be decoded from beginning to end, or finds no
            room.
        """
        decoder = pick_decoder(decoder)
        try:
            name = name_of(view, recipe, decoder, self._digests)
        except OSError:
            return None  # reading it will say what is wrong
        path = self._folder.path / f"{name}{entry.SUFFIX}"
        found = self._read(path)
        if found is not None:
            self._counters.add(hits=1)
            return found
        self._counters.add(misses=1)
        if name in self._unfit or self._stopped():
            return None
        try:
            if whole and probe(view.path, start=view.start, end=view.end).frames > MAX_FRAMES:
                self._unfit.add(name)
                return None
            video = make()
        except VideoError:  # the moments that are wanted may well come before the damage
            self._unfit.add(name)
            return None
        self._write(path, video)
        return video

    def stats(self) -> Stats:
        """What all processes that use the cache have counted so far."""
        return self._counters.stats()

    def notes(self) -> list[str]:
        """What the user should know and has not been told yet, one line each; ask after every epoch."""
        stats = self.stats()
        lines = []
        if stats.error:
            reason = os.strerror(stats.error).lower()
            lines.append(
                f"Clip cache: {self._folder.path} cannot be written to any more ({reason}); clips that are "
                f"not in it are decoded in every epoch"
            )
        if stats.full:
            lines.append(
                f"Clip cache: full with {in_bytes(self._folder.limit)} (--clip_cache_gb); clips that are "
                f"not in it are decoded in every epoch"
            )
        news = [line for line in lines if line not in self._told]
        self._told.update(news)
        return news

    def close(self) -> None:
        """Remove what is of no use to a later run. It happens by itself when the process ends."""
        if self._remove is not None:
            self._remove()

    def own(self) -> None:
        """The folder is this process's own, and goes with it."""
        self._remove = ram.remove_at_end(self, self._folder.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_counters": self._counters, "_told": set(), "_remove": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        """What each process finds out, or has to do, for itself."""
        self._digests: Digests = {}
        self._sound: set[tuple[int, int, int]] = set()
        self._unfit: set[str] = set()

    def _read(self, path: Path) -> DecodedVideo | None:
        found: tuple[int, int, int] | None = None

        def verified(status: os.stat_result) -> bool:
            nonlocal found
            found = (status.st_ino, status.st_size, status.st_mtime_ns)
            return found in self._sound

        try:
            video = entry.read(path, verified)
        except DamagedError:
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None
        if video is not None:
            assert found is not None
            self._sound.add(found)
            self._folder.touch(path)
        return video

    def _write(self, path: Path, video: DecodedVideo) -> None:
        size = entry.size_of(video)
        try:
            if not self._folder.reserve(size):
                self._counters.add(full=1)
                return
            try:
                entry.write(path, video)
            except OSError:
                self._folder.release(size)
                raise
        except OSError as error:
            self._counters.add(error=error.errno or errno.EIO)
        else:
            self._counters.add(stored=1, stored_bytes=size)

    def _stopped(self) -> bool:
        stats = self._counters.stats()
        return bool(stats.full or stats.error)


def open_cache(choice: Choice) -> ClipCache | None:
    """The cache of a choice, to be closed at the end of the run; None is off.

    Raises:
        OSError: its folder cannot be made or written to.
    """
    if choice.where == "off":
        return None
    if choice.where == "disk":
        return ClipCache(choice.folder, choice.limit)
    cache = ClipCache(ram.new_folder(ram.TMPFS), choice.limit)
    cache.own()
    return cache
