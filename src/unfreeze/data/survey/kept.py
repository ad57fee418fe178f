"""What was found out about a file is kept on disk until the file changes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from unfreeze.data.survey.report import FileReport, Mode

# Of what a report says and how it is found out; to be raised when either changes.
VERSION = 1
_MODES: tuple[Mode, ...] = ("full", "quick")
# What may have been the machine's fault, and not the file's, is looked at again.
_NOT_KEPT = ("missing", "crashed", "hung")


class Kept:
    """Reports in a folder, a small JSON file each, written whole or not at all.

    They are found by path, size, time of change and decoder; what a full check found serves a quick one, too.
    A folder that cannot be written to keeps nothing, and a damaged file in it counts as none.
    """

    def __init__(self, folder: Path, *, mode: Mode, decoder: str) -> None:
        self.folder, self.mode, self.decoder = folder, mode, decoder

    def get(self, path: Path) -> FileReport | None:
        try:
            about = os.stat(path)
        except OSError:
            return None
        for mode in _MODES[: _MODES.index(self.mode) + 1]:
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                text = self._file(path, about.st_size, about.st_mtime_ns, mode).read_text(encoding="utf-8")
                return _renamed(FileReport.from_dict(json.loads(text)), path)
        return None

    def put(self, report: FileReport) -> None:
        if report.trouble in _NOT_KEPT:
            return
        target = self._file(report.path, report.size, report.mtime_ns, self.mode)
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(prefix=target.stem, suffix=".part", dir=target.parent)
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    json.dump(report.to_dict(), file)
                os.replace(unfinished, target)
            except BaseException:
                os.unlink(unfinished)
                raise

    def _file(self, path: Path, size: int, mtime_ns: int, mode: Mode) -> Path:
        key = json.dumps([VERSION, str(path.resolve()), size, mtime_ns, mode, self.decoder])
        name = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.json"


def _renamed(report: FileReport, path: Path) -> FileReport:
    """The report under the path that is used now: one file can be named relatively, or through a link."""
    was = str(report.path)
    error, note = (text.replace(was, str(path), 1) for text in (report.error, report.note))
    return replace(report, path=path, error=error, note=note)
