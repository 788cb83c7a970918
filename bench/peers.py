"""One peer on one file: `peers.py NAME DATA QUERIES`. Prints JSON lines as `pennon replay` writes them.

Each peer gets its best known settings: vectors as float32, batches of the same size where it can grow, the same m and
ef_construction (degree 2 m at level 0), the same number of insert threads, one thread for searching in one batch call.
What is unequal is said in `note`.
"""

import argparse
import json
import time

import numpy
import pyarrow.parquet

RECALL_TOLERANCE = 1.00001  # sums in another order differ in the last bits


class Hnswlib:
    note = "incremental; queries in one batch call"

    def __init__(self, dim, rows, args):
        import hnswlib

        self.version = hnswlib.__version__ if hasattr(hnswlib, "__version__") else "0.8"
        self.index = hnswlib.Index("l2", dim)
        self.index.init_index(rows, M=args.m, ef_construction=args.ef_construction)
        self.index.set_num_threads(args.threads)

    def add(self, vectors, first):
        self.index.add_items(vectors, numpy.arange(first, first + len(vectors)))

    def search(self, queries, k, ef):
        self.index.set_num_threads(1)
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k)[0]


class Faiss:
    note = "incremental; queries in one batch call"
    factory = "HNSW{m},Flat"

    def __init__(self, dim, rows, args):
        import faiss

        self.faiss = faiss
        self.version = faiss.__version__
        self.index = faiss.index_factory(dim, self.factory.format(m=args.m))
        self.index.hnsw.efConstruction = args.ef_construction
        faiss.omp_set_num_threads(args.threads)

    def add(self, vectors, first):
        if not self.index.is_trained:
            self.index.train(vectors)
        self.index.add(vectors)

    def search(self, queries, k, ef):
        self.faiss.omp_set_num_threads(1)
        self.index.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]


class FaissSq8(Faiss):
    note = "incremental, trained on the first batch; no exact distances"
    factory = "HNSW{m},SQ8"


class Usearch:
    note = "incremental; queries in one batch call"
    dtype = "f32"

    def __init__(self, dim, rows, args):
        import usearch
        from usearch.index import Index

        self.version = usearch.__version__
        self.threads = args.threads
        self.index = Index(ndim=dim, metric="l2sq", dtype=self.dtype, connectivity=args.m, expansion_add=args.ef_construction)

    def add(self, vectors, first):
        self.index.add(numpy.arange(first, first + len(vectors)), vectors, threads=self.threads)

    def search(self, queries, k, ef):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=1).keys


class UsearchI8(Usearch):
    note = "incremental, 8-bit vectors; no exact distances"
    dtype = "i8"


class Svs:
    note = "incremental: DynamicVamana, built of the first batch; queries in one batch call; ef is its search window"

    def __init__(self, dim, rows, args):
        import svs

        self.svs = svs
        self.version = svs.library_version().lstrip("v")
        self.parameters = svs.VamanaBuildParameters(
            alpha=1.2, graph_max_degree=2 * args.m, window_size=args.ef_construction, prune_to=2 * args.m - 4
        )
        self.threads = args.threads
        self.index = None

    def add(self, vectors, first):
        ids = numpy.arange(first, first + len(vectors), dtype=numpy.uint64)
        if self.index is None:
            distance = self.svs.DistanceType.L2
            self.index = self.svs.DynamicVamana.build(self.parameters, vectors, ids, distance, self.threads)
        else:
            self.index.add(vectors, ids)

    def search(self, queries, k, ef):
        self.index.num_threads = 1
        self.index.search_window_size = ef
        return self.index.search(queries, k)[0]


class Vsag:
    note = "one build of all rows; 8-bit codes and float32 vectors to rank again; a call a query from Python"
    in_one_go = True

    def __init__(self, dim, rows, args):
        from importlib.metadata import version

        import pyvsag

        self.version = version("pyvsag")
        pyvsag.set_logger_off()
        self.dim = dim
        parameters = {
            "dtype": "float32",
            "metric_type": "l2",
            "dim": dim,
            "index_param": {
                "base_quantization_type": "sq8_uniform",
                "use_reorder": True,
                "precise_quantization_type": "fp32",
                "max_degree": 2 * args.m,
                "ef_construction": args.ef_construction,
                "build_thread_count": args.threads,
            },
        }
        self.index = pyvsag.Index("hgraph", json.dumps(parameters))

    def add(self, vectors, first):
        self.index.build(vectors.ravel(), numpy.arange(len(vectors)), len(vectors), self.dim)

    def search(self, queries, k, ef):
        parameters = json.dumps({"hgraph": {"ef_search": ef}})
        return [self.index.knn_search(query, k, parameters)[0] for query in queries]


PEERS = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "faiss-sq8": FaissSq8,
    "usearch": Usearch,
    "usearch-i8": UsearchI8,
    "svs": Svs,
    "vsag": Vsag,
}


def read(path, name):
    table = pyarrow.parquet.read_table(path)
    name = name or next(f.name for f in table.schema if "fixed_size_list" in str(f.type))
    column = table[name].combine_chunks()
    return numpy.asarray(column.flatten()).astype(numpy.float32).reshape(len(column), -1)


def exact(data, queries, k):
    """The k-th smallest squared distance of each query."""
    kth = numpy.empty(len(queries))
    norms = (data.astype(numpy.float64) ** 2).sum(1)
    for i, query in enumerate(queries.astype(numpy.float64)):
        near = numpy.argpartition(norms - 2 * (data @ query.astype(numpy.float32)), 4 * k)[: 4 * k]
        kth[i] = numpy.partition(((data[near] - queries[i]) ** 2).sum(1), k - 1)[k - 1]
    return kth


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("data")
    parser.add_argument("queries", nargs="?", help="default: the last min(1000, rows / 10) rows of DATA")
    parser.add_argument("--vector")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", default="16,32,64,128,256")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=100)
    args = parser.parse_args()

    data = read(args.data, args.vector)
    if args.queries:
        queries = read(args.queries, args.vector)
    else:
        held = min(1000, len(data) // 10)
        data, queries = data[:-held], data[-held:]
    before = resident()
    peer = PEERS[args.name](data.shape[1], len(data), args)
    say = lambda **line: print(json.dumps(line), flush=True)
    say(what="run", version=peer.version, note=peer.note, m=args.m, ef_construction=args.ef_construction, dim=data.shape[1], rows=len(data))
    seconds = []
    rows = len(data) if getattr(peer, "in_one_go", False) else args.batch
    for first in range(0, len(data), rows):
        batch = data[first : first + rows]
        start = time.perf_counter()
        peer.add(batch, first)
        seconds.append((time.perf_counter() - start) / len(batch))
    tenth = max(1, len(seconds) // 10)
    total = sum(s * min(rows, len(data) - i * rows) for i, s in enumerate(seconds))
    say(what="insert", rows=len(data), seconds=total, rows_per_s=len(data) / total, threads=args.threads, batch=rows,
        first_tenth_us_per_row=1e6 * numpy.mean(seconds[:tenth]), last_tenth_us_per_row=1e6 * numpy.mean(seconds[-tenth:]))
    say(what="memory", rss_bytes=resident() - before)
    kth = exact(data, queries, args.k)
    for ef in map(int, args.ef.split(",")):
        start = time.perf_counter()
        found = peer.search(queries, args.k, ef)
        elapsed = time.perf_counter() - start
        distances = ((data[numpy.asarray(found, dtype=numpy.int64)] - queries[:, None]) ** 2).sum(2)
        recall = float((distances <= kth[:, None] * RECALL_TOLERANCE).mean())
        say(what="search_batch", ef=ef, k=args.k, qps=len(queries) / elapsed, recall=recall, threads=1)


if __name__ == "__main__":
    main()
