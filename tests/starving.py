"""Trains with less memory than a step needs, then with each advised setting: MIB PRESET SETTINGS.

Each training is a forked process with the same limit, after one that has loaded everything.
"""

import os
import re
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import torch

from condgen import experiments
from condgen.config import load_preset
from condgen.errors import CondgenError

ONE_STEP = ("training.max_steps=1", "training.epochs=1", "training.snapshots=0")
ADVICE = re.compile(r"([a-z.]+_?[a-z]+=\S+(?: with \S+)?) \(")


def trained(preset: str, *settings: str) -> str:
    """Train one step; returns the error, or nothing."""
    path = Path(tempfile.mkdtemp()) / "run"
    try:
        experiments.train(load_preset(preset, (*settings, *ONE_STEP)), path, quiet=True)
    except CondgenError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def starved(mib: int, preset: str, *settings: str, tries: int = 5) -> str:
    """The same in a process that may allocate so many MiB more."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (mib << 20), resource.RLIM_INFINITY))
            os.write(writing, trained(preset, *settings).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = pipe.read()
    if code := os.waitpid(child, 0)[1]:
        if tries > 1 and code == signal.SIGSEGV:  # of a library that does not check what it gets
            return starved(mib, preset, *settings, tries=tries - 1)
        raise SystemExit(f"the process ended with {code}")
    return found


def main() -> None:
    mib, preset, settings = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    torch.set_num_threads(1)
    trained(preset, *settings, "training.batch_size=2")
    message = starved(mib, preset, *settings)
    print(message)
    for option in ADVICE.findall(message):
        print(option, starved(mib, preset, *settings, *option.split(" with ")) or "fits")


if __name__ == "__main__":
    main()
