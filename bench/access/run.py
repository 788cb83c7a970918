"""Makes tables, takes rows of them and scans them, by Pennon, pylance and Arrow's Parquet reader in turns; prints what
came out. Every figure is a line of --out.

run.py PENNON_ACCESS [--rows 1000000] [--rounds 3] [--seconds 1]"""

import argparse
import json
import math
import os
import pathlib
import shutil
import subprocess
import time

import lance
import numpy as np

import report

COUNTS = 1, 10, 100, 1000


def set_cache(path, warm):
    """Out of the page cache, or all of it into that."""
    for file in pathlib.Path(path).rglob("*"):
        if not file.is_file():
            continue
        with open(file, "rb", buffering=0) as opened:
            if warm:
                while opened.read(1 << 20):
                    pass
            else:
                os.fdatasync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reads():
    """Bytes and calls of read and its like, of this process."""
    with open("/proc/self/io") as file:
        io = dict(line.split(": ") for line in file)
    return int(io["rchar"]), int(io["syscr"])


def measure(path, warm, seconds, most, call):
    """As pennon_access does it."""
    set_cache(path, warm)
    taken, own = [], 0
    first = reads()
    before = reads()
    while len(taken) < most and sum(taken) < seconds * (3 if len(taken) < 3 else 1):
        if not warm:
            set_cache(path, False)
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    after = reads()
    of_call = [(a - b - (b - f)) / len(taken) for f, b, a in zip(first, before, after)]
    taken.sort()
    quantiles = [1e6 * taken[max(math.ceil(q * len(taken)), 1) - 1] for q in (0.5, 0.99)]
    return {"cache": "warm" if warm else "cold", "p50_us": quantiles[0], "p99_us": quantiles[1], "bytes": round(of_call[0]),
            "reads": of_call[1], "calls": len(taken)}


def run_pylance(directory, writer, rows, seconds, number):
    path = os.path.join(directory, f"{writer}.lance")
    dataset = lance.dataset(path)
    rng = np.random.default_rng(number)
    head = {"system": "pylance", "format": f"lance by {writer}"}

    def take(count, columns):
        wanted = np.sort(rng.choice(rows, count, replace=False)).tolist()
        assert dataset.take(wanted, columns=columns).num_rows == count

    def scan():
        assert sum(batch.num_rows for batch in dataset.to_batches()) == rows

    take(min(rows, 1000), None)
    for name, columns in (("all", None), ("vector", ["vector"])):
        for count in COUNTS:
            for warm in (True, False):
                line = measure(path, warm, seconds, 5000 if warm else 200, lambda: take(count, columns))
                yield {"what": "take", **head, "columns": name, "rows": count, **line, "round": number}
    for warm in (True, False):
        yield {"what": "scan", **head, "columns": "all", "rows": rows, **measure(path, warm, seconds, 5, scan), "round": number}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--dir", default="build/bench/access")
    parser.add_argument("--out", default="build/bench/random-access.jsonl")
    parser.add_argument("--keep", action="store_true", help="the tables, and use those that are there")
    args = parser.parse_args()
    common = ["--dir", args.dir, "--rows", str(args.rows)]
    if not args.keep:
        shutil.rmtree(args.dir, ignore_errors=True)
    if not os.path.exists(args.dir):
        subprocess.run([args.program, "make", *common], check=True)
        own = lance.dataset(os.path.join(args.dir, "pennon.lance"))
        lance.write_dataset(own.scanner().to_reader(), os.path.join(args.dir, "pylance.lance"))
        os.sync()
    with open(args.out, "w") as out:
        for number in range(args.rounds):
            for system in ("pennon,", "pylance", "parquet,"):
                if system == "pylance":
                    for writer in ("pennon", "pylance"):
                        for line in run_pylance(args.dir, writer, args.rows, args.seconds, number):
                            print(json.dumps(line), file=out, flush=True)
                    continue
                command = [args.program, "run", *common, "--seconds", str(args.seconds), "--round", str(number), "--only", system]
                subprocess.run(command, check=True, stdout=out)
    if not args.keep:
        shutil.rmtree(args.dir)
    report.print_report(args.out)


if __name__ == "__main__":
    main()
