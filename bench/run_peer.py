"""One peer, once: built of DATA, asked QUERIES. Prints JSON lines as `pennon replay --json` writes them, and writes
what was found as `--answers` does."""

import argparse
import json
import time

import numpy
import pyarrow
import pyarrow.ipc

import datasets
import peers


def say(**line):
    print(json.dumps(line), flush=True)


def resident_set():
    """Bytes in memory now, and at most since the last restart."""
    with open("/proc/self/status") as status:
        sizes = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return 1024 * int(sizes["VmRSS"]), 1024 * int(sizes["VmHWM"])


def restart_resident_set():
    """Gives unused memory back first, so that growth from here on is what is used from here on."""
    pyarrow.default_memory_pool().release_unused()
    pyarrow.system_memory_pool().release_unused()
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
    except OSError:
        pass  # then the peak is that since the process started
    return resident_set()[0]


class Answers:
    SCHEMA = pyarrow.schema(
        [("call", pyarrow.string()), ("ef", pyarrow.int64()), ("query", pyarrow.uint32()), ("row_id", pyarrow.uint64())]
    )

    def __init__(self, path):
        self.file = pyarrow.ipc.new_file(path, self.SCHEMA)

    def write(self, call, ef, found):
        """found: ids a query; negative ones stand for nothing found."""
        found = [numpy.asarray(ids).astype(numpy.int64).ravel() for ids in found]
        query = numpy.repeat(numpy.arange(len(found), dtype=numpy.uint32), [len(ids) for ids in found])
        ids = numpy.concatenate(found)
        kept = ids >= 0
        columns = [
            pyarrow.array([call] * int(kept.sum())),
            pyarrow.array(numpy.full(kept.sum(), ef)),
            pyarrow.array(query[kept]),
            pyarrow.array(ids[kept].astype(numpy.uint64)),
        ]
        self.file.write_batch(pyarrow.record_batch(columns, schema=self.SCHEMA))


def insert(peer, data, batch, chunk, threads):
    ids = numpy.arange(len(data), dtype=numpy.uint64)
    total, seconds, since = 0.0, 0.0, 0
    for first in range(0, len(data), batch):
        last = min(first + batch, len(data))
        start = time.perf_counter()
        peer.add(data[first:last], ids[first:last])
        seconds += time.perf_counter() - start
        if last - since >= chunk or last == len(data):
            if batch < len(data):
                say(what="chunk", rows=last, us_per_row=1e6 * seconds / (last - since))
            total, seconds, since = total + seconds, 0.0, last
    say(what="insert", rows=len(data), seconds=total, rows_per_s=len(data) / total, threads=threads, batch=batch)


def ask(peer, queries, k):
    """Seconds and microseconds a call of one pass, and what was found."""
    found, us = [], []
    start = time.perf_counter()
    for query in queries:
        before = time.perf_counter()
        found.append(peer.search(query, k))
        us.append(1e6 * (time.perf_counter() - before))
    return time.perf_counter() - start, us, found


def ask_batch(peer, queries, k):
    start = time.perf_counter()
    found = peer.search_batch(queries, k)
    return time.perf_counter() - start, [], found


def sweep(peer, queries, args, answers):
    ways = {"search": ask, "search_batch": ask_batch}
    calls = [call for call in args.calls if call == "search" or peer.batch_call]
    peer.set_ef(args.ef[0])
    ways[calls[-1]](peer, queries, args.k)  # not counted: the first pass finds caches cold
    for ef in args.ef:
        peer.set_ef(ef)
        for call in calls:
            passes = [ways[call](peer, queries, args.k) for _ in range(args.passes)]
            seconds = min(seconds for seconds, _, _ in passes)
            us = [value for _, values, _ in passes for value in values]
            latency = {"p50_us": numpy.percentile(us, 50), "p99_us": numpy.percentile(us, 99)} if us else {}
            say(what=call, ef=ef, k=args.k, qps=len(queries) / seconds, **latency, threads=1)
            answers.write(call, ef, passes[-1][2])


def call_overhead(make, data, queries, args):
    """Microseconds a call on an index of ten rows takes: what is left when there is hardly anything to search."""
    small = make(10)
    small.add(data[:10], numpy.arange(10, dtype=numpy.uint64))
    small.set_ef(args.ef[0])
    ask(small, queries, args.k)
    say(what="overhead", us=1e6 * min(ask(small, queries, args.k)[0] for _ in range(3)) / len(queries))


def main():
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=peers.PEERS)
    parser.add_argument("data")
    parser.add_argument("queries")
    parser.add_argument("--metric", default="l2")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=numbers, default=[16, 32, 64, 128])
    parser.add_argument("--calls", type=lambda text: text.split(","), default=["search", "search_batch"])
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--answers", required=True)
    args = parser.parse_args()

    data, queries = datasets.read(args.data), datasets.read(args.queries)
    kind = peers.PEERS[args.name]

    def make(rows):
        return kind(data.shape[1], rows, args.metric, args.m, args.ef_construction, args.threads)

    make(10)  # the library's own set-up is not the index's memory
    before = restart_resident_set()
    peer = make(len(data))
    say(
        what="run",
        version=peers.package_version(kind),
        note=kind.note,
        m=args.m,
        ef_construction=args.ef_construction,
        metric=args.metric,
        dim=data.shape[1],
        rows=len(data),
        value_bytes=kind.value_bytes,
    )
    insert(
        peer, data, args.batch if kind.incremental else len(data), args.chunk or (len(data) + 19) // 20, args.threads
    )
    now, peak = resident_set()
    say(
        what="memory",
        total_bytes=peer.reported_bytes(),
        rss_growth_bytes=now - before,
        rss_peak_growth_bytes=peak - before,
    )
    answers = Answers(args.answers)
    sweep(peer, queries, args, answers)
    answers.file.close()
    if "search" in args.calls:
        call_overhead(make, data, queries, args)


if __name__ == "__main__":
    main()
