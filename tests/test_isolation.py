"""Jobs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from scgrn_tl import settings
from scgrn_tl.bm._isolation import run_isolated

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def outcomes(function, jobs, **how):
    return dict(run_isolated(function, jobs, **how))


def square(number):
    return number**2, os.getpid()


def misbehave(how):
    if how == "raise":
        msg = "two\nlines"
        raise ValueError(msg)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "sleep":
        time.sleep(60)
    return how


def test_every_job_has_a_process_of_its_own():
    found = outcomes(square, [(number,) for number in range(4)], n_jobs=2)
    assert [found[number].value[0] for number in range(4)] == [0, 1, 4, 9]
    assert len({found[number].value[1] for number in range(4)} | {os.getpid()}) == 5
    assert all(outcome.error == "" and outcome.seconds >= 0 for outcome in found.values())


def test_a_job_that_fails_ends_alone():
    jobs = [("raise",), ("die",), ("exit",), ("well",), ("sleep",)]
    started = time.monotonic()
    found = outcomes(misbehave, jobs, n_jobs=5, timeout=3)
    assert time.monotonic() - started < 40
    assert found[3].value == "well"
    assert found[0].error == "ValueError: two lines"
    assert "misbehave" in found[0].trace
    assert found[1].error == "The process ended with signal 9 before it was done. It may have run out of memory."
    assert found[2].error == "The process ended with exit status 3 before it was done."
    assert found[4].error == "Took longer than the timeout of 3 s."
    assert all(found[number].value is None for number in (0, 1, 2, 4))


def hold(n_bytes):
    kept = np.ones(n_bytes, dtype=np.uint8)
    return int(kept.sum())


def test_time_and_memory_are_those_of_the_job():
    found = outcomes(hold, [(1,), (300 * 2**20,)], n_jobs=1)
    assert 250 < found[1].peak_memory_mb - found[0].peak_memory_mb < 400
    slow = outcomes(time.sleep, [(0.5,)])[0]
    assert 0.5 <= slow.seconds < 5
    assert slow.cpu_seconds < 0.4


def surroundings():
    import torch

    return str(settings.cache_dir), settings.progress, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_settings_go_along_and_threads_are_one(tmp_path):
    with settings.override(cache_dir=tmp_path, progress=True):
        value = outcomes(surroundings, [()])[0].value
    assert value == (str(tmp_path), False, 1, "1")


def test_leaving_early_ends_what_runs():
    seen = []
    for number, outcome in run_isolated(misbehave, [("well",), ("sleep",)], n_jobs=2):
        seen.append((number, outcome.value))
        break
    assert seen == [(0, "well")]


def test_jobs_are_asked_for_when_their_turn_comes():
    asked = []

    def jobs():
        for number in range(4):
            asked.append(number)
            yield (number,)

    for _ in run_isolated(square, jobs(), n_jobs=1):
        assert len(asked) <= 2
        break


@pytest.mark.parametrize("as_module", [False, True])
def test_a_script_without_a_guard_runs_once(tmp_path, as_module):
    """And what it defines travels to the processes."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            """
            from scgrn_tl.bm._isolation import run_isolated

            class Thing:
                def __init__(self, value):
                    self.value = value

            def double(thing):
                return Thing(2 * thing.value)

            print("script runs", __name__)
            print([outcome.value.value for _, outcome in run_isolated(double, [(Thing(21),)])])
            print(__file__.endswith("unguarded.py"))
            """
        )
    )
    call = [sys.executable, "-m", "unguarded"] if as_module else [sys.executable, str(script)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines() == ["script runs __main__", "[42]", "True"], done.stderr


def test_a_parent_that_is_killed_leaves_no_process_behind(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, time
            from scgrn_tl.bm._isolation import run_isolated

            def sleep(path):
                with open(path + ".part", "w") as file:
                    file.write(str(os.getpid()))
                os.rename(path + ".part", path)
                time.sleep(300)

            list(run_isolated(sleep, [("pid",)]))
            """
        )
    )
    parent = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    assert wait_until((tmp_path / "pid").exists)
    parent.kill()
    parent.wait()
    child = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not is_alive(child))


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
