"""Takes and scans by pylance of the tables that `pennon_export --keep` left, in turns. Prints JSON lines.

read.py DIRECTORY [ROUNDS]"""

import json
import os
import statistics
import sys
import time

import lance
import numpy as np

OPS = {
    "take 1": lambda dataset, columns, rng: dataset.take([int(rng.integers(dataset.count_rows()))], columns=columns),
    "take 100": lambda dataset, columns, rng: dataset.take(rng.integers(0, dataset.count_rows(), 100).tolist(), columns=columns),
    "scan": lambda dataset, columns, rng: dataset.to_table(columns=columns),
}
REPEATS = {"take 1": 200, "take 100": 50, "scan": 3}


def main():
    directory, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    tables = {name.split("-")[0]: os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith("-flat.lance")}
    datasets = {version: lance.dataset(path) for version, path in tables.items()}
    columns = {"vector": ["embedding"], "text": ["summary"], "number": ["id"], "all": ["id", "registry", "name", "summary", "embedding"]}
    times = {}
    for _ in range(rounds):
        for which, names in columns.items():
            for op, run in OPS.items():
                for version, dataset in datasets.items():
                    rng = np.random.default_rng(1)
                    run(dataset, names, rng)  # metadata are read once
                    for _ in range(REPEATS[op]):
                        start = time.perf_counter()
                        run(dataset, names, rng)
                        times.setdefault((which, op, version), []).append(1e6 * (time.perf_counter() - start))
    for (which, op, version), taken in times.items():
        print(json.dumps({"what": "read", "columns": which, "op": op, "version": version, "p50_us": statistics.median(taken),
                          "min_us": min(taken)}))
    for version, path in tables.items():
        sizes = {kind: sum(os.path.getsize(os.path.join(folder, file)) for folder, _, files in os.walk(os.path.join(path, kind))
                           for file in files) for kind in ("data", "_indices")}
        print(json.dumps({"what": "size", "version": version, "data": sizes["data"], "index": sizes["_indices"]}))


if __name__ == "__main__":
    main()
