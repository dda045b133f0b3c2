"""Several processes that ``torchrun`` started: which one this is, agreement, and shared work."""

import atexit
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from condgen import torchrun
from condgen.errors import CondgenError, ProcessLost
from condgen.files import is_running
from condgen.randomness import Rows

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST_WAIT = timedelta(days=7)  # for the slowest process: an attack may take hours
LOOK_AROUND = 5.0  # seconds in which the process that ended is looked for

_store: Store | None = None
_calls = 0  # of `share_work`, the same number in every process
_together: ContextVar[bool] = ContextVar("together", default=False)


def count() -> int:
    """Number of processes that work together; 1 outside of :func:`joined`."""
    return dist.get_world_size() if _together.get() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _together.get() else 0


def is_first() -> bool:
    """Whether this process writes files and draws progress."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Context in which the processes that ``torchrun`` started work together.

    Does nothing without ``torchrun``, with one process, or inside of another such context.

    Raises:
        ProcessLost: If another process has ended; names it.
    """
    if torchrun.started() < 2 or _together.get():
        yield
        return
    if not dist.is_initialized():
        _meet()
    token = _together.set(True)
    try:
        places = gather(f"{socket.gethostname()} {os.getpid()}")
        yield
        gather(None)  # nobody leaves while another one waits for a message
    except RuntimeError as error:
        lost = _lost(places)
        if lost is None:
            raise
        raise ProcessLost(
            f"process {lost} of {count()} ({places[lost]}) has ended. Saved files are complete: add"
            " --resume to a training, or repeat the command of an audit."
        ) from error
    finally:
        _together.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """Context in which this process is alone: for work that others do not do at the same time."""
    token = _together.set(False)
    try:
        yield
    finally:
        _together.reset(token)


def _meet() -> None:
    """Make the group of all processes; it lasts until this process ends."""
    global _store
    _store, own, size = next(rendezvous("env://", timeout=LONGEST_WAIT))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("condgen", _store),
        rank=own,
        world_size=size,
        timeout=LONGEST_WAIT,
    )
    atexit.register(dist.destroy_process_group)


def gather(value: Result) -> list[Result]:
    """The ``value`` of every process, in the order of their numbers."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def total(tensor: Tensor) -> Tensor:
    """The sum over processes; in place."""
    if count() > 1:
        dist.all_reduce(tensor)
    return tensor


def copy_from_first(tensor: Tensor) -> None:
    """Give ``tensor`` the values that it has in the first process; in place."""
    if count() > 1:
        dist.broadcast(tensor, src=0)


def largest(*numbers: int) -> list[int]:
    """The maximum of each number over processes."""
    if count() == 1:
        return list(numbers)
    found = torch.tensor(numbers)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return cast(list[int], found.tolist())


def from_first(work: Callable[[], Result]) -> Result:
    """Call ``work`` in the first process only; all get its result, or raise its error."""
    if count() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = work()
        except CondgenError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(Result, outcome[0])


def rows_of(images: int, multiple: int = 1) -> Rows:
    """The rows of a batch that this process computes: consecutive ones, as many as the others.

    With fewer images than processes, some processes compute the same one, so that none has none.

    Args:
        images: Size of the batch.
        multiple: Number of rows that stay together, if there are enough of them.
    """
    if images < count():
        return Rows(torch.arange(images)[rank() % max(1, images) :][:1], images)
    size = multiple if images >= multiple * count() else 1
    ends = [images // size * number // count() * size for number in range(count())]
    return Rows(torch.arange(ends[rank()], [*ends, images][rank() + 1]), images)


def gather_rows(own: Result, images: int) -> list[Result]:
    """What every process found for its :func:`rows_of` a batch, in the order of the rows."""
    return gather(own)[: max(1, images)]


def share_work(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    cost: Callable[[Item], float] | None = None,
    done: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Apply ``work`` to all items; each process takes the next one as soon as it is free.

    All processes get all results, in the order of the items. Within ``work`` a process is alone.

    Args:
        work: Its result must not depend on the process.
        items: The same in every process.
        cost: Expected relative cost of an item; several processes take expensive items first.
        done: Called with the number and the result of each item that this process has done.

    Raises:
        CondgenError: If an item fails; in every process, when all other items are done.
    """
    shared, order = count() > 1, list(range(len(items)))
    if shared and cost is not None:
        order.sort(key=lambda number: -cost(items[number]))
    taken: Iterable[int] = _taken(order, rank(), count()) if shared else order
    mine: dict[int, Result | CondgenError] = {}
    with alone():
        for number in taken:
            try:
                mine[number] = result = work(items[number])
            except CondgenError as error:
                if not shared:
                    raise
                mine[number] = error
                continue
            if done is not None:
                done(number, result)
    found = {number: result for each in gather(mine) for number, result in each.items()}
    failed = next((each for each in found.values() if isinstance(each, CondgenError)), None)
    if failed is not None:
        raise failed
    return [cast(Result, found[number]) for number in range(len(items))]


def _taken(order: Sequence[int], own: int, size: int) -> Iterator[int]:
    """The numbers that this process takes, one at a time."""
    global _calls
    _calls += 1
    counter = f"work-{_calls}"
    if _store is None:  # a process group that somebody else made
        yield from order[own::size]
        return
    while (place := _store.add(counter, 1) - 1) < len(order):
        yield order[place]


def _lost(places: Sequence[str]) -> int | None:
    """The number of a process that has ended; only those on this machine can be seen."""
    machine = socket.gethostname()
    pids = {
        number: int(place.split()[1])
        for number, place in enumerate(places)
        if place.split()[0] == machine
    }
    end = time.monotonic() + LOOK_AROUND
    while time.monotonic() < end:
        for number, pid in pids.items():
            if not is_running(pid):
                return number
        time.sleep(0.02)
    return None
