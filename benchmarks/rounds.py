"""Images per second of several implementations in alternating rounds.

Each implementation runs in its own process, and only one of them works at a time. Alternating
rounds spread other load of the machine evenly. One thread is measured in process time, several in
wall-clock time.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from condgen import machine

WARM_UP, ROUNDS, CALLS = 1, 3, 2  # the first round of each implementation is up to a third slower

Calls = dict[str, Callable[[], object]]
Contenders = Callable[[], dict[str, Callable[[], Calls]]]


def images_per_second(
    contenders: Contenders,
    kinds: Sequence[str],
    batch: int,
    threads: int,
    *,
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> dict[str, dict[str, float]]:
    """Median over rounds and calls, by implementation and kind.

    Args:
        contenders: Module-level function that returns constructors by name. Each constructor
            returns a function for each kind. Names that begin with "condgen" or "library", or end
            with "tuned", get condgen's allocator settings.
        kinds: What to measure; "likelihood" runs without gradients.
        batch: Number of images that a call processes.
        threads: For condgen or PyTorch.
        rounds: Number of rounds after the first.
        calls: Number of calls per round.
    """
    spawn = get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    for name in contenders():
        connections[name], theirs = spawn.Pipe()
        arguments = (theirs, contenders, name, threads, calls)
        processes.append(spawn.Process(target=serve, args=arguments, daemon=True))
        processes[-1].start()
        theirs.close()  # then recv fails, instead of waiting, if the process dies
    times: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in kinds} for name in connections
    }
    for number in range(WARM_UP + rounds):
        for name, connection in connections.items():
            for kind in kinds:
                connection.send(kind)
                taken: list[float] = connection.recv()
                if number >= WARM_UP:
                    times[name][kind] += [batch / of_call for of_call in taken]
    for connection in connections.values():
        connection.send("")
    for process in processes:
        process.join()  # freeing gigabytes would slow the next measurement
    return {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in times.items()
    }


def serve(
    connection: Connection, contenders: Contenders, name: str, threads: int, number: int
) -> None:
    """Run one implementation in this process; for each kind received, send seconds per call."""
    torch.manual_seed(0)
    if name.startswith(("condgen", "library")) or name.endswith("tuned"):
        machine.prepare(threads)
    if not name.startswith("condgen"):  # these use only the threads of PyTorch
        torch.set_num_threads(threads)
    calls, clock = contenders()[name](), time.process_time if threads == 1 else time.perf_counter
    while kind := connection.recv():
        with torch.inference_mode(kind == "likelihood"):
            connection.send([seconds(calls[kind], clock) for _ in range(number)])


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Duration of a call."""
    start = clock()
    call()
    return clock() - start


def precisions() -> dict[str, torch.dtype]:
    """Precisions with hardware support on this machine, the fastest last."""
    return {"float32": torch.float32} | (
        {"bfloat16": torch.bfloat16} if machine.multiplies_bfloat16() else {}
    )
