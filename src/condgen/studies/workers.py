"""Executors for steps: processes of this machine, or the workers of a Dask cluster."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from condgen.errors import CondgenError, ConfigError

Given = ParamSpec("Given")
Result = TypeVar("Result")
SPAWN = multiprocessing.get_context("spawn")
TRIES = 2
SECONDS_TO_SAVE = 30.0  # for a training that was asked to end


class WorkerDied(CondgenError):
    """A worker process ended during its work, for example killed or out of memory."""


class LocalWorkers(Executor):
    """Worker processes of this machine; if one dies, the others continue.

    A process pool of the standard library breaks when one process dies. Here each process has its
    own connection. The work of a process that dies is retried once, in a new process. All processes
    end when this process ends, for whatever reason.

    Args:
        jobs: Number of processes.
        begin: Called in each process with its number, before its first work.
    """

    def __init__(self, jobs: int, begin: Callable[[int], None] | None = None):
        self._threads = ThreadPoolExecutor(jobs, "condgen-study")
        self._stopped = threading.Event()
        self._all = [_Worker(number, begin) for number in range(jobs)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        """Run ``fn``, a module-level function, in one of the processes.

        Its arguments must be picklable. The future raises :class:`WorkerDied` if two processes die
        while running it.
        """
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after their work, or as soon as possible if ``wait`` is false.

        A training then finishes its step and writes a checkpoint.
        """
        if not wait:
            self._stopped.set()
            for worker in self._all:
                worker.terminate()
            for worker in self._all:
                worker.end(wait=SECONDS_TO_SAVE)
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures or not wait)
        for worker in self._all:
            worker.end()

    def _call(self, fn: Callable[..., Result], args: Any, kwargs: Any) -> Result:
        worker = self._idle.get()
        try:
            for _ in range(TRIES):
                if self._stopped.is_set():
                    break
                try:
                    result: Result = worker.call(fn, args, kwargs)
                    return result
                except (EOFError, OSError):
                    reason = worker.end(wait=5)
            else:
                raise WorkerDied(
                    f"{TRIES} processes died while running this step ({reason}), possibly out of"
                    " memory; use fewer --jobs."
                )
            raise WorkerDied("stopped.")
        finally:
            self._idle.put(worker)


class _Worker:
    """A process that runs the calls it is sent; started on first use."""

    def __init__(self, number: int, begin: Callable[[int], None] | None):
        self.number, self.begin = number, begin
        self.process: Any = None
        self.connection: Connection[Any, Any] | None = None

    def call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.connection is None:
            self._start()
        assert self.connection is not None
        self.connection.send((fn, args, kwargs))
        succeeded, result = self.connection.recv()
        if not succeeded:
            raise RuntimeError(result)
        return result

    def _start(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(
            target=_serve, args=(theirs, self.begin, self.number), name=f"condgen-{self.number}"
        )
        self.process.start()
        theirs.close()  # so that the connection closes when the process ends

    def terminate(self) -> None:
        """Ask the process to end."""
        if self.process is not None:
            self.process.terminate()

    def end(self, wait: float = 0.0) -> str:
        """End the process, after waiting up to ``wait`` seconds for it; return how it ended."""
        process, connection = self.process, self.connection
        self.process = self.connection = None
        if process is None or connection is None:
            return "not started"
        process.join(wait)
        process.kill()
        process.join()
        connection.close()
        code = process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _serve(
    connection: "Connection[Any, Any]", begin: Callable[[int], None] | None, number: int
) -> None:
    """Run the calls that come over the connection until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin:
        begin(number)
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, fn(*args, **kwargs))
        except Exception as error:
            answer = (False, f"{type(error).__name__}: {error}")
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def dask_workers(address: str, seconds: float = 30) -> Iterator[tuple[Executor, int]]:
    """An executor for a Dask cluster, given its scheduler's address, and the number of workers.

    Dask gives the work of a lost worker to another worker. Running work cannot be interrupted.

    Raises:
        ConfigError: If Dask is not installed, no scheduler answers, or a worker would run several
            steps at a time.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "--scheduler needs Dask, which is not installed; run `pip install condgen[dask]`."
        ) from error
    try:
        client = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`,"
            " and give the address that it prints."
        ) from error
    with client:
        threads = client.nthreads()
        _check_workers(threads)
        executor = client.get_executor(pure=False)
        try:
            yield executor, max(1, len(threads))
        finally:
            executor.shutdown(wait=False)


def _check_workers(threads: dict[str, int]) -> None:
    for worker, number in threads.items():
        if number > 1:
            raise ConfigError(
                f"Dask worker {worker} has {number} threads, but each step needs its own process;"
                f" start `dask worker ADDRESS --nworkers {number} --nthreads 1`."
            )
