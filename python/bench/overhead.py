"""What Python adds to a search and to an append, and how threads get on: `overhead.py build/release/pennon`.

A search of one query is held against a search of many at once, whose calls are all in C++. An append is held against
the program's, on the same file, in turns; the best of each counts, as others use this machine too. The goals are 5 us a
search and 3 % of an append.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import threading
import time

import numpy as np

import pennon

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "data" / "packages-10k.parquet"


def best(call, calls, rounds):
    """Microseconds a call, of the fastest round."""
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        least = min(least, (time.perf_counter() - start) / calls)
    return 1e6 * least


def searches(vectors):
    for rows in (10, len(vectors)):
        index = pennon.Index(vectors.shape[1])
        index.append(vectors[:rows])
        query = vectors[3].copy()
        many = np.tile(query, (200, 1))
        inside = best(lambda index=index, many=many: index.search_raw(many), 5, 40) / len(many)
        for name, call in (
            ("search", lambda index=index, query=query: index.search(query)),
            ("search_raw", lambda index=index, query=query: index.search_raw(query)),
            ("search_raw().to_numpy", lambda index=index, query=query: index.search_raw(query).to_numpy()),
        ):
            us = best(call, 200, 100)
            print(f"{rows:>6} rows  {name:<22} {us:6.2f} us a call, {inside:6.2f} in C++: {us - inside:+5.2f}")


def empty_appends(vectors):
    """What an append costs before and after C++: a thread, beside which signals are looked for, and conversions."""
    index = pennon.Index(vectors.shape[1])
    index.append(vectors[:1000])
    none = vectors[:0]
    print(f"an append of nothing takes {best(lambda: index.append(none), 20, 50):.1f} us")


def append_seconds(vectors, batch, threads):
    index = pennon.Index(vectors.shape[1])
    seconds = 0.0
    for first in range(0, len(vectors), batch):
        part = vectors[first : first + batch]
        start = time.perf_counter()
        index.append(part, threads=threads)
        seconds += time.perf_counter() - start
    return seconds


def program_seconds(program, path, queries, batch, threads):
    with tempfile.NamedTemporaryFile() as lines:
        options = ["--readers", 0, "--queries", queries, "--no-exact", "--json", lines.name]
        command = [program, "replay", path, "--batch", batch, "--threads", threads, *options]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        for line in map(json.loads, lines.read().splitlines()):
            if line["what"] == "insert":
                return line["seconds"]
    raise SystemExit("the program does not say how long it took")


def appends(program, vectors, rounds):
    with tempfile.TemporaryDirectory() as folder:
        path, queries = pathlib.Path(folder, "vectors.npy"), pathlib.Path(folder, "queries.npy")
        np.save(path, vectors)
        np.save(queries, vectors[:10])
        for batch, threads in ((1000, 2), (1000, 1), (100, 1)):
            turns = [
                (append_seconds(vectors, batch, threads), program_seconds(program, path, queries, batch, threads))
                for _ in range(rounds)
            ]
            ours, its = (min(seconds) for seconds in zip(*turns, strict=True))
            print(
                f"append, batches of {batch}, {threads} threads: {len(vectors) / ours:,.0f} rows/s, "
                f"{len(vectors) / its:,.0f} in C++: {100 * (ours / its - 1):+.1f} % time"
            )


def threads(vectors):
    """How many searches one thread makes alone, and while another appends."""
    index = pennon.Index(vectors.shape[1])
    index.append(vectors)

    def rate(seconds, done):
        count, start = 0, time.perf_counter()
        while not done() and time.perf_counter() - start < seconds:
            index.search_raw(vectors[count % 1000])
            count += 1
        return count / (time.perf_counter() - start)

    alone = rate(2, lambda: False)
    writer = threading.Thread(target=lambda: index.append(np.tile(vectors, (3, 1)) + np.float32(0.01), threads=1))
    writer.start()
    beside = rate(600, lambda: not writer.is_alive())
    print(f"one thread searches {alone:,.0f} times a second alone, {beside:,.0f} while another appends")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?", help="build/release/pennon; without it appends are not compared")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    import pyarrow.parquet as pq

    vectors = np.stack(pq.read_table(SAMPLE)["embedding"].to_numpy()).astype(np.float32)
    searches(vectors)
    empty_appends(vectors)
    if args.program:
        appends(args.program, vectors, args.rounds)
    threads(vectors)


if __name__ == "__main__":
    main()
