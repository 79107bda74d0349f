"""Jobs in processes of their own: one that crashes, or takes all the memory, ends alone."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from scgrn_tl._settings import Settings, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

__all__ = ["Outcome", "run_isolated"]

PRELOADED = [
    "scgrn_tl.bm._isolation",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "torch_geometric.nn",
]
"""Imported once, by the process that the others are forked from."""

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    value
        What its function returned; ``None`` after an error.
    error
        One line on what went wrong; empty if nothing did.
    trace
        The traceback, where there is one.
    seconds, cpu_seconds
        Time of the function alone, without starting the process.
    peak_memory_mb
        Most memory that the process held, libraries included; NaN where the system does not tell.
    """

    value: Any = None
    error: str = ""
    trace: str = ""
    seconds: float = float("nan")
    cpu_seconds: float = float("nan")
    peak_memory_mb: float = float("nan")

    @classmethod
    def of_error(cls, error: BaseException) -> Outcome:
        """What went wrong, in one line and as a traceback."""
        text = " ".join(str(error).split())
        return cls(error=f"{type(error).__name__}: {text}", trace="".join(traceback.format_exception(error)))


def run_isolated(
    function: Callable[..., Any],
    jobs: Iterable[tuple[Any, ...] | Exception],
    *,
    n_jobs: int = 1,
    timeout: float | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """``function(*job)`` of every job, each in a new process on one thread.

    Parameters
    ----------
    function
        Of any module; one written in a notebook travels by value.
    jobs
        Arguments; each is asked for when its turn comes. An exception in place of some is that job's outcome.
    n_jobs
        How many run at a time.
    timeout
        Seconds after which a job is ended, and counts as failed.

    Yields
    ------
    Number of the job and its outcome, in the order in which they end. Leaving the loop ends what still runs.
    """
    import cloudpickle

    context = _context()
    waiting = enumerate(jobs)
    exhausted = False
    running: dict[Connection, tuple[int, BaseProcess, float]] = {}
    try:
        while not exhausted or running:
            while not exhausted and len(running) < n_jobs:
                try:
                    number, job = next(waiting)
                except StopIteration:
                    exhausted = True
                    break
                if isinstance(job, Exception):
                    yield number, Outcome.of_error(job)
                    continue
                receiver, sender = context.Pipe(duplex=False)
                payload = cloudpickle.dumps((function, job, settings))
                process = context.Process(target=_run, args=(payload, sender), daemon=False)
                with _main_left_alone():
                    process.start()
                sender.close()
                running[receiver] = (number, process, time.monotonic())
            answered = wait(list(running), timeout=POLL_SECONDS) if running else []
            ready = [receiver for receiver in running if receiver in answered]
            late = [
                receiver
                for receiver, (_, _, since) in running.items()
                if timeout is not None and time.monotonic() - since > timeout and receiver not in ready
            ]
            for receiver in (*ready, *late):
                number, child, _ = running.pop(receiver)
                yield number, _collect(receiver, child, late=receiver in late, timeout=timeout)
    finally:
        for receiver, (_, child, _) in running.items():
            child.kill()
            child.join()
            receiver.close()


def _collect(receiver: Connection, process: BaseProcess, *, late: bool, timeout: float | None) -> Outcome:
    """The outcome of a process that has sent it, has died, or is to be ended."""
    outcome = None
    if not late:
        try:
            outcome = receiver.recv()
        except (EOFError, OSError):  # it died before it could say why
            outcome = None
    else:
        process.kill()
    process.join()
    receiver.close()
    if late:
        return Outcome(error=f"Took longer than the timeout of {timeout:g} s.")
    if outcome is None:
        code = process.exitcode
        cause = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        hint = " It may have run out of memory." if code == -9 else ""
        return Outcome(error=f"The process ended with {cause} before it was done.{hint}")
    return outcome


def _run(payload: bytes, sender: Connection) -> None:
    """What the new process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    import cloudpickle
    from threadpoolctl import threadpool_limits

    started = time.perf_counter(), time.process_time()
    try:
        function, job, of_parent = cloudpickle.loads(payload)
        _adopt(of_parent)
        with threadpool_limits(1):
            started = time.perf_counter(), time.process_time()
            outcome = Outcome(value=function(*job))
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is the outcome)
        outcome = Outcome.of_error(error)
    outcome = replace(
        outcome,
        seconds=time.perf_counter() - started[0],
        cpu_seconds=time.process_time() - started[1],
        peak_memory_mb=_peak_memory_mb(),
    )
    sender.send_bytes(cloudpickle.dumps(outcome))  # its value too may be of a class in a notebook
    sender.close()


def _end_with_parent() -> None:
    """End this process when the one that asked for it is gone, however that was ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _adopt(of_parent: Settings) -> None:
    """Take over the settings of the process that started this one; without its progress bars and notices."""
    vars(settings).update(vars(of_parent))
    settings.progress = settings.notices = False


def _peak_memory_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _context() -> ForkServerContext | SpawnContext:
    """Processes forked from one that has imported what takes long, where the system can; else new ones."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """Start a process that does not import the user's script again.

    multiprocessing would, so that a script without ``if __name__ == "__main__"`` would run itself over and over.
    Nothing of the script is needed: what it hands over travels by value.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    for name in hidden:
        delattr(main, name)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)
