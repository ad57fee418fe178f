from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unfreeze.data.clip_cache import ram

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="needs /proc")


def owner_of(root: Path, then: str) -> subprocess.CompletedProcess[str]:
    """A process that has a folder with an entry, prints its path, and does what ``then`` says."""
    code = textwrap.dedent(
        f"""
        import importlib.util, os, signal, sys
        from pathlib import Path
        # without the package around it, which imports torch: seconds
        spec = importlib.util.spec_from_file_location("ram", {ram.__file__!r})
        ram = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(ram)
        class Owner: pass
        owner = Owner()
        path = ram.new_folder(Path({str(root)!r}))
        path.mkdir()
        (path / "a.clip").write_text("clip")
        remove = ram.remove_at_end(owner, path)
        print(path, flush=True)
        {then}
        """
    )
    return subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)


@pytest.mark.parametrize(
    "then", ["pass", "sys.exit(3)", "1 / 0", "remove()", "del owner", "raise KeyboardInterrupt"]
)
def test_a_folder_goes_with_its_process(tmp_path, then):
    result = owner_of(tmp_path, then)
    assert result.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_it_to_the_next_run(tmp_path):
    result = owner_of(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert str(left) == result.stdout.strip()
    assert ram.new_folder(tmp_path).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_folders_of_processes_that_live_stay(tmp_path):
    mine = ram.new_folder(tmp_path)
    mine.mkdir()
    second = ram.new_folder(tmp_path)
    assert second != mine
    assert mine.is_dir()
    ram.sweep(tmp_path)
    assert mine.is_dir()


def test_a_number_that_is_used_again_is_not_taken_for_the_process_that_had_it(tmp_path):
    namespace, pid, started, number = ram.new_folder(tmp_path).name.split("-")[2:]
    gone = tmp_path / f"unfreeze-clips-{namespace}-{pid}-{int(started) - 1}-{number}"
    gone.mkdir()
    ram.sweep(tmp_path)
    assert not gone.exists()


def test_what_others_keep_there_is_left_alone(tmp_path):
    elsewhere = tmp_path / "unfreeze-clips-1-99999999-1-1"  # of a container with processes of its own
    elsewhere.mkdir()
    (tmp_path / "unfreeze-clips-of-my-own").mkdir()
    (tmp_path / "torch_123").touch()
    ram.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


class Owner:
    pass


def test_a_worker_that_ends_removes_nothing(tmp_path):
    owner, path = Owner(), ram.new_folder(tmp_path)
    path.mkdir()
    remove = ram.remove_at_end(owner, path)
    worker = multiprocessing.get_context("fork").Process(target=remove)
    worker.start()
    worker.join()
    assert path.is_dir()
    remove()
    assert not path.exists()
    assert os.getpid() > 0
