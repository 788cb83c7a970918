"""Filters for filtered searches: a share of the rows, drawn with no regard to the query, near it, or far from it.

One Arrow IPC file for all systems, kept in build/bench/masks: a row a share, kind and query, with the rows that pass as
a bitmap (as Arrow's; null: that of the row before) and the truth: those of them as near as the k-th, in float64.
"""

import hashlib
import inspect
import pathlib

import numpy
import pyarrow
import pyarrow.ipc

import datasets
import truth

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "build" / "bench" / "masks"
SHARES = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001)
KINDS = {
    "random": "the same random rows for all queries",
    "near": "a random half of the rows nearest to the query, twice as many as pass",
    "far": "the rows farthest from the query",
}
SCHEMA = pyarrow.schema(
    [
        ("share", pyarrow.float64()),
        ("kind", pyarrow.string()),
        ("query", pyarrow.uint32()),
        ("mask", pyarrow.binary()),
        ("truth", pyarrow.list_(pyarrow.uint32())),
    ]
)


def groups():
    """Each share and kind that there is: all rows are neither near nor far."""
    return [(share, kind) for kind in KINDS for share in SHARES if kind == "random" or share <= 0.5]


def _passing(kind, order, count, rng):
    """`count` rows; order: all of them, the nearest first."""
    if kind == "near":
        return rng.choice(order[: 2 * count], count, replace=False)
    return order[len(order) - count :] if kind == "far" else rng.choice(order, count, replace=False)


def _nearest(query, rows, order, mask, k):
    """The rows that pass and are as near as the k-th of them, which may be more than k; order: by float32 sums."""
    near = order[mask[order]][: 4 * k]
    distances = ((rows[near].astype(numpy.float64) - query) ** 2).sum(1)
    kth = numpy.sort(distances)[min(k, len(near)) - 1]
    return near[distances <= kth * (1 + truth.TOLERANCE)]


def _make(path, dataset, queries, k):
    rows, asked = datasets.read(dataset.rows), datasets.read(dataset.queries)[:queries]
    rng = numpy.random.default_rng(datasets.SEED)
    norms = (rows**2).sum(1) / 2
    orders = [numpy.argsort(norms - rows @ query, kind="stable").astype(numpy.uint32) for query in asked]
    with pyarrow.ipc.new_file(path, SCHEMA) as file:
        for share, kind in groups():
            count = max(1, round(share * len(rows)))
            masks, truths = [], []
            for query, order in zip(asked, orders):
                if kind != "random" or not masks:
                    mask = numpy.zeros(-(-len(rows) // 512) * 512, bool)  # whole cache lines, so that all are aligned
                    mask[_passing(kind, order, count, rng)] = True
                    masks.append(numpy.packbits(mask, bitorder="little").tobytes())
                else:
                    masks.append(None)
                truths.append(_nearest(query, rows, order, mask, k))
            numbers = numpy.arange(len(asked), dtype=numpy.uint32)
            columns = [[share] * len(asked), [kind] * len(asked), numbers, masks, truths]
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, SCHEMA)]
            file.write_batch(pyarrow.record_batch(arrays, schema=SCHEMA))


def of(dataset, queries, k):
    """Path of the file for the first so many queries."""
    code = "".join(map(inspect.getsource, (_passing, _nearest, _make)))
    key = repr((dataset.rows, dataset.queries, queries, k, datasets.SEED, groups(), code))
    path = FOLDER / f"{dataset.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.arrow"
    if not path.exists():
        print(f"making {path}", flush=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        _make(part, dataset, queries, k)
        part.rename(path)
    return str(path)
