"""Exact neighbours in float64, kept in build/bench/truth, and the recall of what was found, the same way for all."""

import hashlib
import pathlib

import numpy
import pyarrow.ipc

import datasets

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "build" / "bench" / "truth"
# Systems rank by float32 sums: what is this much farther than the k-th neighbour counts as equally far.
TOLERANCE = 1e-6


class Truth:
    def __init__(self, dataset, k):
        self.metric, self.k = dataset.metric, k
        self.rows, self.queries = datasets.read(dataset.rows), datasets.read(dataset.queries)
        key = hashlib.sha256(repr((dataset.rows, dataset.queries, dataset.metric, k)).encode()).hexdigest()[:16]
        path = FOLDER / f"{dataset.name}-{key}.npy"
        if not path.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            numpy.save(path, self._kth_distances())
        kth = numpy.load(path)
        self.bound = kth + TOLERANCE * (numpy.abs(kth) + (0 if self.metric == "l2" else 1))

    def _distances(self, queries, rows):
        """Of queries[i] to rows[i, j]."""
        queries, rows = queries.astype(numpy.float64)[:, None], rows.astype(numpy.float64)
        if self.metric == "l2":
            return ((rows - queries) ** 2).sum(2)
        if self.metric == "cosine":
            queries, rows = _unit(queries), _unit(rows)
        return 1 - (rows * queries).sum(2)

    def _kth_distances(self):
        rows = self.rows.astype(numpy.float64)
        queries = self.queries.astype(numpy.float64)
        if self.metric == "cosine":
            rows, queries = _unit(rows), _unit(queries)
        norms = (rows**2).sum(1) / 2 if self.metric == "l2" else numpy.zeros(len(rows))
        wanted = min(self.k, len(rows))
        kept = min(4 * wanted, len(rows))  # by a formula that cancels; then by the exact one
        kth = []
        step = max(1, 50_000_000 // len(rows))
        for first in range(0, len(queries), step):
            part = slice(first, first + step)
            near = norms - queries[part] @ rows.T
            near = numpy.argpartition(near, kept - 1, axis=1)[:, :kept]
            distances = self._distances(self.queries[part], self.rows[near])
            kth.append(numpy.partition(distances, wanted - 1, axis=1)[:, wanted - 1])
        return numpy.concatenate(kth)

    def recalls(self, path):
        """{(call, ef): recall} of an answers file."""
        found = pyarrow.ipc.open_file(path).read_all().combine_chunks()
        column = {name: found[name].to_numpy() for name in ("ef", "query", "row_id")}
        call = found["call"].to_numpy(zero_copy_only=False)
        counts = {}
        for name in dict.fromkeys(call):
            for ef in numpy.unique(column["ef"][call == name]):
                at = (call == name) & (column["ef"] == ef)
                pairs = numpy.unique(
                    numpy.stack([column["query"][at], column["row_id"][at]]).astype(numpy.int64), axis=1
                )
                good = 0
                for first in range(0, pairs.shape[1], 100_000):
                    query, row = pairs[:, first : first + 100_000]
                    distances = self._distances(self.queries[query], self.rows[row][:, None])[:, 0]
                    good += int((distances <= self.bound[query]).sum())
                counts[name, int(ef)] = good / (len(self.queries) * min(self.k, len(self.rows)))
        return counts


def _unit(vectors):
    norms = numpy.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / numpy.where(norms == 0, 1, norms)
