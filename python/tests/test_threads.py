"""Threads, signals, and what is left over."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

import pennon

DIM = 64


@pytest.fixture
def vectors(rng):
    return rng.standard_normal((20_000, DIM)).astype(np.float32)


def test_threads_search_while_one_appends(vectors):
    """Neither holds the GIL: searches are answered all the time that one append runs."""
    index = pennon.Index(DIM)
    index.append(vectors[:2000])
    state = {"appending": False, "searched": 0, "failed": []}

    def search():
        query = vectors[0]
        while not state["appending"]:
            time.sleep(0.001)
        while state["appending"]:
            table = index.search(query, k=5)
            if table["row_id"][0].as_py() != 0 or len(index) not in (2000, 8000):
                state["failed"].append(table)
            state["searched"] += 1

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    state["appending"] = True
    index.append(vectors[2000:8000], threads=1)
    state["appending"] = False
    for reader in readers:
        reader.join()
    assert not state["failed"]
    assert state["searched"] > 50
    assert len(index) == 8000


@pytest.fixture(scope="module")
def large():
    vectors = np.random.default_rng(3).standard_normal((20_000, DIM)).astype(np.float32)
    index = pennon.Index(DIM)
    index.append(vectors)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)  # so that nothing is left to be converted
    return index, vectors[0], rows[:200], rows[:2000]


@pytest.mark.parametrize(
    "call",
    [
        lambda index, one, few, many: index.search_raw(one, k=20_000, exact=True),
        lambda index, one, few, many: index.search_raw(few, exact=True),
        lambda index, one, few, many: index._core.search_range(one, 1e9, 64, None, None, True),
        lambda index, one, few, many: index._core.snapshot().to_arrow(),
        lambda index, one, few, many: index.verify(),
        lambda index, one, few, many: index.append(few),
        lambda index, one, few, many: index.append(many),
    ],
    ids=["search", "search of many", "range", "to_arrow", "verify", "append", "append of many"],
)
def test_the_gil_is_released(call, large):
    """A thread that waits for the GIL gets it while another is in the call, long before it may ask for it."""
    state = {"inside": False, "over": False}

    def work():
        end = time.monotonic() + 0.3
        state["inside"] = True
        while time.monotonic() < end:
            call(*large)
        state["inside"] = False
        state["over"] = True

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        seen = False
        thread = threading.Thread(target=work)
        thread.start()
        while not state["over"]:
            seen = seen or state["inside"]
            time.sleep(0)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen


def test_appends_of_many_threads_are_all_there(vectors):
    index = pennon.Index(DIM)
    parts = [vectors[i : i + 500] for i in range(0, 4000, 500)]
    threads = [
        threading.Thread(target=index.append, args=(part, np.arange(i * 500, i * 500 + 500)))
        for i, part in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index) == 4000
    assert index.search(vectors[:4000:100], k=1)["row_id"].to_pylist() == list(range(0, 4000, 100))
    assert index.verify().ok


@pytest.fixture(autouse=True)
def _ctrl_c():
    """A shell that starts tests in the background has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_after(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_ctrl_c_undoes_a_long_append(vectors):
    index = pennon.Index(DIM, ef_construction=400)
    index.append(vectors[:300])
    before = index.search(vectors[7], k=300)
    many = np.tile(vectors, (10, 1)) + np.float32(0.25)
    timer = interrupt_after(0.3)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        index.append(many, copy=False)
    seconds = time.monotonic() - start
    timer.join()
    assert len(index) == 300
    assert index.search(vectors[7], k=300) == before
    assert index.stats().appends_failed == 1
    assert seconds < 20, "it takes minutes if it is not stopped"
    assert index.append(vectors[:10]) == range(300, 310)


def test_ctrl_c_stops_a_search_of_many(vectors):
    index = pennon.Index(DIM)
    index.append(vectors)
    timer = interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        index.search(np.tile(vectors, (50, 1)), exact=True)
    timer.join()


def test_a_signals_handler_runs_during_an_append_and_its_exception_is_raised(vectors):
    index = pennon.Index(DIM, ef_construction=200)
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(len(index)))
    try:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        index.append(vectors)
        timer.join()
        assert calls == [0]

        def stop(*_):
            raise LookupError("stop")

        signal.signal(signal.SIGUSR1, stop)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(LookupError, match="stop"):
            index.append(vectors)
        timer.join()
        assert len(index) == 20_000
    finally:
        signal.signal(signal.SIGUSR1, before)


def append_for_ever(index, vectors):
    while True:
        index.append(vectors)


def test_an_append_waiting_for_another_is_stopped_by_ctrl_c(vectors):
    index = pennon.Index(DIM, ef_construction=400)
    other = threading.Thread(target=index.append, args=(vectors,))
    other.start()
    timer = interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        append_for_ever(index, vectors[:1])
    timer.join()
    other.join()
    assert len(index) >= 20_000


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_leaks(rng):
    """A thousand times: an index, appends of what it keeps and what it copies, a snapshot, searches, all dropped."""
    small = rng.standard_normal((20, 4)).astype(np.float32)
    large = rng.standard_normal((2, 300_000)).astype(np.float32)
    array = pa.FixedSizeListArray.from_arrays(pa.array(small.ravel()), 4)

    def once(i):
        index = pennon.Index(4)
        index.append(small)
        index.append(array, row_ids=np.arange(20))
        with index.snapshot() as snapshot:
            index.append(small.tolist())
            snapshot.search(small, k=3, filter={1, 2}).to_pandas()
            snapshot.search_raw(small[0]).to_numpy()
            pages = snapshot.search_iter(small[0], k=3)
            next(pages)
        for wrong in (small[:, :3], "text"):
            with pytest.raises((TypeError, ValueError)):
                index.append(wrong)
        if i % 20 == 0:
            wide = pennon.Index(300_000)
            wide.append(large, copy=i % 40 == 0)

    references = sys.getrefcount(large), sys.getrefcount(small)
    for i in range(100):
        once(i)
    gc.collect()
    pool, memory = pa.total_allocated_bytes(), resident()
    for i in range(1000):
        once(i)
    gc.collect()
    assert pa.total_allocated_bytes() == pool
    assert (sys.getrefcount(large), sys.getrefcount(small)) == references
    assert resident() - memory < 16 << 20


def test_the_interpreter_ends_with_an_index_in_use():
    """At its end daemon threads may be in an append or in searches, and objects of the extension be alive."""
    program = """
import threading, numpy, pennon
index = pennon.Index(64)
rows = numpy.random.default_rng(1).standard_normal((50_000, 64)).astype("float32")
index.append(rows[:1000])
threading.Thread(target=index.append, args=(rows,), kwargs={"copy": False}, daemon=True).start()
snapshot, pages = index.snapshot(), index.search_iter(rows[0])
next(pages)
print(len(snapshot))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "1000\n", "")
    program = """
import threading, time, numpy, pennon
index = pennon.Index(16)
rows = numpy.random.default_rng(1).standard_normal((2000, 16)).astype("float32")
index.append(rows)
def forever(work):
    while True:
        work()
for work in (
    lambda: index.search_raw(rows[0]),
    lambda: index.search_raw(rows[:100]),
    lambda: index.append(rows[:50]),
    lambda: index.snapshot().close(),
    lambda: pennon.Filter(range(1000)),
):
    threading.Thread(target=forever, args=(work,), daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert (run.returncode, run.stderr) == (0, "")
