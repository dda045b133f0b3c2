"""Processes that work together as under ``torchrun``, forked so that they share one import."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

import tests.preloaded  # noqa: F401
from condgen import machine

LONGEST = 120.0  # seconds, after which processes that wait for each other are killed


def together(count: int, work: Callable[[], object]) -> list[int]:
    """Call ``work`` in ``count`` processes that can join each other.

    Returns:
        The exit status of each: 0, 1 after an error, or minus the signal that ended it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    children = [_start(number, count, port, work) for number in range(count)]
    end, found = time.monotonic() + LONGEST, {}
    while len(found) < count and time.monotonic() < end:
        for child in set(children) - set(found):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                found[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for child in set(children) - set(found):
        os.kill(child, signal.SIGKILL)
        found[child] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [found[child] for child in children]


def _start(number: int, count: int, port: int, work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        place = {"RANK": number, "LOCAL_RANK": number, "MASTER_PORT": port}
        sizes = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ.update({key: str(value) for key, value in (place | sizes).items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        machine.prepare(1)
        work()
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
