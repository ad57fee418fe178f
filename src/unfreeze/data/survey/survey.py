"""All files of a data set, each looked at once, in processes that may die of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from unfreeze.data.decode import pick_decoder
from unfreeze.data.demo.files import cache_root
from unfreeze.data.manifest import Sample
from unfreeze.data.survey.apart import Died, done_apart
from unfreeze.data.survey.examine import examine
from unfreeze.data.survey.kept import Kept
from unfreeze.data.survey.report import FileReport, Mode, Survey

# A decoder that shows no frame for so long (seconds) is taken to hang.
PATIENCE = 300.0


def survey(
    samples: Iterable[Sample],
    *,
    mode: Mode = "full",
    decoder: str = "auto",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    root: Path | None = None,
) -> Survey:
    """What the files of ``samples`` are like, every file once however many samples and views share it.

    Args:
        mode: ``full`` decodes every frame, ``quick`` the first and the last; both read all bytes.
        decoder: ``auto``, ``torchcodec`` or ``pyav``.
        workers: processes; 0 decodes in this one, and then a decoder that crashes takes it along.
        progress: called with (done, total) after each file that has to be looked at.
        root: where results are kept, in its folder ``checks``; the cache folder of this package by default.
    """
    started = time.monotonic()
    decoder = pick_decoder(decoder)
    paths = list(dict.fromkeys(view.path for sample in samples for view in sample.views))
    kept = Kept((root or cache_root()) / "checks", mode=mode, decoder=decoder)
    known = {path: report for path in paths if (report := kept.get(path)) is not None}
    unknown = [path for path in paths if path not in known]
    work = partial(examine, mode=mode, decoder=decoder)
    results = done_apart(work, unknown, workers=min(workers, len(unknown)), patience=PATIENCE)
    for done, (path, result) in enumerate(results, start=1):
        known[path] = _lost(path, result) if isinstance(result, Died) else result
        kept.put(known[path])
        if progress is not None:
            progress(done, len(unknown))
    reports = {path: known[path] for path in paths}
    return Survey(reports, mode, fresh=len(unknown), seconds=time.monotonic() - started)


def _lost(path: Path, died: Died) -> FileReport:
    if died.silent:
        said = f"the decoder shows no frame for {PATIENCE:.0f} seconds; encode it again or leave it out"
        return FileReport(path, trouble="hung", error=f"{path}: {said}")
    how = f"signal {-died.code}" if died.code is not None and died.code < 0 else f"exit code {died.code}"
    said = f"the decoder crashes ({how}); encode it again or leave it out"
    return FileReport(path, trouble="crashed", error=f"{path}: {said}")
