"""Numbers of threads, parallel work, bfloat16 support and memory settings."""

import mmap
import os
import signal
import time
from pathlib import Path
from threading import Barrier, current_thread
from types import SimpleNamespace

import pytest
import torch

from condgen import machine

CASES = {
    "idle": (8, 8, 0.0, 1, 8),
    "two others": (8, 8, 2.1, 3, 6),
    "full": (2, 2, 6.3, 7, 1),
    "a run that has just ended": (8, 8, 7.9, 1, 8),
    "a moment's burst": (8, 8, 0.2, 9, 8),
    "a part of a machine half busy": (4, 64, 32.0, 33, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_threads_are_the_cores_that_others_leave_free(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable, present, average, running, free = CASES[name]
    (tmp_path / "loadavg").write_text(f"{average} 0.00 0.00 {running}/500 12345\n")
    monkeypatch.setattr(machine, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: present)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (average, 0.0, 0.0))
    assert machine.free_cores() == free


def test_without_a_table_of_what_runs_the_average_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "LOAD", tmp_path / "nothing")
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (3.0, 0.0, 0.0))
    assert machine.free_cores() == 1


def test_threads_that_are_asked_for_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(machine, "_workers", None)
    monkeypatch.setattr(machine, "_helpers", 0)
    meeting = Barrier(2, timeout=10)
    machine.prepare(threads=2)
    # A single thread would time out at the barrier.
    assert len(machine.parallel_map(lambda _: meeting.wait(), range(2))) == 2
    assert torch.get_num_threads() == 1  # more threads would synchronize after each small operation
    machine.prepare(threads=1)
    assert machine.parallel_map(lambda _: current_thread(), range(2)) == 2 * [current_thread()]
    torch.set_num_threads(before)


def test_work_that_is_spread_records_no_graph_and_keeps_errors() -> None:
    weight = torch.ones(1, requires_grad=True)
    assert not any(
        result.requires_grad
        for result in machine.parallel_map(lambda item: item * weight, range(3))
    )
    with pytest.raises(ZeroDivisionError):
        machine.parallel_map(lambda item: 1 // item, range(3))


@pytest.mark.parametrize("failing", ["helper", "caller"])
def test_an_error_of_any_thread_arrives_when_all_have_ended(
    failing: str, two_threads: None
) -> None:
    meeting, ended = Barrier(2, timeout=10), []

    def work(item: int) -> None:
        meeting.wait()  # each thread has one item
        if current_thread().name.startswith("condgen") == (failing == "helper"):
            raise ZeroDivisionError(item)
        time.sleep(0.1)
        ended.append(item)

    with pytest.raises(ZeroDivisionError):
        machine.parallel_map(work, range(2))
    assert len(ended) == 1


def test_work_that_is_spread_keeps_its_own_parts_on_its_thread(two_threads: None) -> None:
    meeting = Barrier(2, timeout=10)

    def work(_: int) -> list[object]:
        meeting.wait()
        return [current_thread(), *machine.parallel_map(lambda _: current_thread(), range(3))]

    threads = machine.parallel_map(work, range(2))
    assert [len(set(of_one)) for of_one in threads] == [1, 1]
    assert threads[0][0] != threads[1][0]
    with pytest.raises(ZeroDivisionError):
        machine.parallel_map(lambda item: 1 // item, [0, 0])
    # No thread stays marked as busy after an error.
    assert len({of_one[0] for of_one in machine.parallel_map(work, range(2))}) == 2


def test_a_batch_goes_to_the_threads_in_whole_pieces_where_no_graph_is_recorded(
    two_threads: None,
) -> None:
    seen: list[tuple[int, object]] = []
    meeting = Barrier(2, timeout=10)

    def work(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not torch.is_grad_enabled() and len(batch) != 31:
            meeting.wait()
        seen.append((len(batch), current_thread()))
        return 2 * batch, batch.sum(1)

    batch = torch.arange(120.0).view(40, 3).requires_grad_()
    expected = work(batch)
    seen.clear()
    for found, wanted in zip(machine.map_chunks(work, batch), expected, strict=True):
        assert torch.equal(found, wanted)
        assert found.requires_grad
    assert seen == [(40, current_thread())]
    seen.clear()
    with torch.inference_mode():
        for found, wanted in zip(machine.map_chunks(work, batch), expected, strict=True):
            assert torch.equal(found, wanted)
        assert len(machine.map_chunks(work, batch[:31])[0]) == 31  # less than two chunks of 16
        assert len(machine.map_chunks(lambda none: (none,), batch[:0])[0]) == 0
    assert sorted(size for size, _ in seen) == [16, 24, 31]
    assert len({thread for _, thread in seen}) == 2


@pytest.mark.parametrize(
    ("amx", "avx512", "seconds", "faster"),
    [
        (True, False, 0.5, True),
        (False, True, 0.5, True),
        (False, True, 2.0, False),
        (False, False, 0.5, False),
    ],
)
def test_bfloat16_is_multiplied_where_there_are_units_that_are_faster(
    amx: bool, avx512: bool, seconds: float, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(machine, "_seconds_of_a_product", lambda precision: taken[precision])
    assert machine.multiplies_bfloat16.__wrapped__("cpu") is faster


def test_larger_products_take_more_seconds() -> None:
    assert (
        0
        < machine._seconds_of_a_product(torch.float32, 16)
        < machine._seconds_of_a_product(torch.float32, 512)
    )


def test_whole_pages_of_the_heap_are_asked_for_and_given_back() -> None:
    start, size, page = 0x7F0000000010, 1 << 24, mmap.PAGESIZE
    calls: list[tuple[object, ...]] = []

    def libc(found: int | None) -> SimpleNamespace:
        def malloc(asked: int) -> int | None:
            calls.append(("malloc", asked))
            return found

        def madvise(*arguments: int) -> None:
            calls.append(("madvise", *arguments))

        def free(address: int) -> None:
            calls.append(("free", address))

        return SimpleNamespace(malloc=malloc, madvise=madvise, free=free)

    machine._ask_for_huge_pages(libc(start), size)  # type: ignore[arg-type]
    first_page = start - 0x10 + page
    assert calls == [
        ("malloc", size),
        ("madvise", first_page, start + size - first_page, 14),
        ("free", start),
    ]
    calls.clear()
    machine._ask_for_huge_pages(libc(None), size)  # type: ignore[arg-type]
    assert calls == [("malloc", size)]  # malloc failed: no madvise


def test_threads_multiply_in_the_precision_that_the_caller_asked_for(two_threads: None) -> None:
    meeting, matrix = Barrier(2, timeout=10), torch.ones(2, 2)

    def work(_: int) -> torch.dtype:
        meeting.wait()
        return (matrix @ matrix).dtype

    assert machine.parallel_map(work, range(2)) == 2 * [torch.float32]
    with torch.autocast("cpu", torch.bfloat16):
        assert machine.parallel_map(work, range(2)) == 2 * [torch.bfloat16]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have(two_threads: None) -> None:
    assert machine.parallel_map(lambda item: item, range(4)) == [0, 1, 2, 3]
    child = os.fork()
    if child == 0:  # the child reports by its exit status
        os._exit(machine.parallel_map(lambda item: 2 * item, range(4)) != [0, 2, 4, 6])
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
