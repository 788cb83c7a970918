"""The peers, a class each: how one is built, fed and asked, at its best known settings.

All get float32 vectors, m (a degree of 2 m at level 0) and ef_construction, or what corresponds to them. What is
unequal is said in `note`, which the report shows beside the figures.
"""

import json
import tempfile
from importlib.metadata import version


class Peer:
    package = ""
    note = ""
    incremental = True  # takes rows in batches; otherwise all at once
    batch_call = True  # answers many queries in one call
    value_bytes = 4  # of a dimension in the vectors that it keeps to rank by

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        raise NotImplementedError

    def add(self, vectors, ids):
        raise NotImplementedError

    def set_ef(self, ef):
        """Called before searches, which run on one thread."""
        raise NotImplementedError

    def search(self, query, k):
        """Ids of one query's neighbours."""
        raise NotImplementedError

    def search_batch(self, queries, k):
        raise NotImplementedError

    def reported_bytes(self):
        """What the index says it takes, vectors included; None if it does not say."""
        return None


class PennonPython(Peer):
    package = "pennon"
    note = "Pennon through its Python package, as its peers are called"

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        import ann

        self.ann = ann.Pennon(metric, {"m": m, "ef_construction": ef_construction, "threads": threads})

    def add(self, vectors, ids):
        self.ann.fit(vectors, ids)

    def set_ef(self, ef):
        self.ann.set_query_arguments(ef)

    def search(self, query, k):
        return self.ann.query(query, k)

    def search_batch(self, queries, k):
        self.ann.batch_query(queries, k)
        return self.ann.get_batch_results()

    def reported_bytes(self):
        return self.ann.index.memory_usage().total


class Hnswlib(Peer):
    package = "hnswlib"
    note = "is told the final number of rows beforehand; compiled on this machine, for it"

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        import hnswlib

        self.index = hnswlib.Index({"l2": "l2", "cosine": "cosine", "dot": "ip"}[metric], dim)
        self.index.init_index(rows, M=m, ef_construction=ef_construction)
        self.threads = threads

    def add(self, vectors, ids):
        self.index.add_items(vectors, ids, num_threads=self.threads)

    def set_ef(self, ef):
        self.index.set_ef(ef)

    def search(self, query, k):
        return self.index.knn_query(query, k, num_threads=1)[0][0]

    def search_batch(self, queries, k):
        return self.index.knn_query(queries, k, num_threads=1)[0]

    def reported_bytes(self):
        return self.index.index_file_size()


class Faiss(Peer):
    package = "faiss-cpu"
    factory = "HNSW{m},Flat"

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        import faiss

        self.faiss = faiss
        self.threads = threads
        kind = {"l2": faiss.METRIC_L2, "dot": faiss.METRIC_INNER_PRODUCT}[metric]
        self.index = faiss.index_factory(dim, self.factory.format(m=m), kind)
        self.graph().hnsw.efConstruction = ef_construction

    def graph(self):
        return self.index

    def add(self, vectors, ids):
        self.faiss.omp_set_num_threads(self.threads)
        if not self.index.is_trained:
            self.index.train(vectors)
        self.index.add(vectors)

    def set_ef(self, ef):
        self.faiss.omp_set_num_threads(1)
        self.graph().hnsw.efSearch = ef

    def search(self, query, k):
        return self.index.search(query[None], k)[1][0]

    def search_batch(self, queries, k):
        return self.index.search(queries, k)[1]

    def reported_bytes(self):
        return self.faiss.serialize_index(self.index).nbytes


class FaissFp16(Faiss):
    note = "keeps float16 alone: exact where the data are float16"
    factory = "HNSW{m},SQfp16"
    value_bytes = 2


class FaissSq8(Faiss):
    note = "8-bit codes, trained on the first batch, and float32 vectors by which the best 2 k are ranked again"
    factory = "HNSW{m},SQ8,RFlat"

    def __init__(self, *args):
        super().__init__(*args)
        self.index.k_factor = 2

    def graph(self):
        return self.faiss.downcast_index(self.index.base_index)


class Usearch(Peer):
    package = "usearch"
    dtype = "f32"

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        from usearch.index import Index

        self.threads = threads
        kind = {"l2": "l2sq", "cosine": "cos", "dot": "ip"}[metric]
        self.index = Index(ndim=dim, metric=kind, dtype=self.dtype, connectivity=m, expansion_add=ef_construction)

    def add(self, vectors, ids):
        self.index.add(ids, vectors, threads=self.threads)

    def set_ef(self, ef):
        self.index.expansion_search = ef

    def search(self, query, k):
        return self.index.search(query, k, threads=1).keys

    def search_batch(self, queries, k):
        return self.index.search(queries, k, threads=1).keys

    def reported_bytes(self):
        return self.index.memory_usage


class UsearchBf16(Usearch):
    note = "keeps bfloat16 alone: distances are not exact"
    dtype = "bf16"
    value_bytes = 2


class UsearchI8(Usearch):
    note = "keeps 8 bits a dimension alone: distances are not exact"
    dtype = "i8"
    value_bytes = 1


class Svs(Peer):
    package = "scalable-vs"
    note = "DynamicVamana, built of the first batch, then fed; ef is its search window"

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        import svs

        self.svs = svs
        self.distance = {"l2": svs.DistanceType.L2, "cosine": svs.DistanceType.Cosine, "dot": svs.DistanceType.MIP}[
            metric
        ]
        self.parameters = svs.VamanaBuildParameters(
            alpha=1.2 if metric == "l2" else 0.95,
            graph_max_degree=2 * m,
            window_size=ef_construction,
            prune_to=2 * m - 4,
        )
        self.threads = threads
        self.index = None

    def add(self, vectors, ids):
        if self.index is None:
            self.index = self.svs.DynamicVamana.build(self.parameters, vectors, ids, self.distance, self.threads)
        else:
            self.index.add(vectors, ids)

    def set_ef(self, ef):
        self.index.num_threads = 1
        self.index.search_window_size = ef

    def search(self, query, k):
        return self.index.search(query, k)[0][0]

    def search_batch(self, queries, k):
        return self.index.search(queries, k)[0]


class SvsLvq(Svs):
    note = "static Vamana of LVQ4x8 vectors, built of all rows at once; SVS allows LVQ on Intel's processors alone"
    incremental = False
    value_bytes = 1.5

    def add(self, vectors, ids):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/vectors.fvecs"
            self.svs.write_vecs(vectors, path)
            source = self.svs.VectorDataLoader(path, self.svs.DataType.float32, dims=vectors.shape[1])
            loader = self.svs.LVQLoader(source, primary=4, residual=8, padding=32)
            self.index = self.svs.Vamana.build(self.parameters, loader, self.distance, self.threads)


class Vsag(Peer):
    package = "pyvsag"
    note = "hgraph built of all rows at once; 8-bit codes, and float32 vectors to rank again; no call for many queries"
    incremental = False
    batch_call = False

    def __init__(self, dim, rows, metric, m, ef_construction, threads):
        import pyvsag

        pyvsag.set_logger_off()
        self.dim = dim
        parameters = {
            "dtype": "float32",
            "metric_type": {"l2": "l2", "cosine": "cosine", "dot": "ip"}[metric],
            "dim": dim,
            "index_param": {
                "base_quantization_type": "sq8_uniform",
                "use_reorder": True,
                "precise_quantization_type": "fp32",
                "max_degree": 2 * m,
                "ef_construction": ef_construction,
                "build_thread_count": threads,
            },
        }
        self.index = pyvsag.Index("hgraph", json.dumps(parameters))

    def add(self, vectors, ids):
        self.index.build(vectors.ravel(), ids, len(vectors), self.dim)

    def set_ef(self, ef):
        self.parameters = json.dumps({"hgraph": {"ef_search": ef}})

    def search(self, query, k):
        return self.index.knn_search(query, k, self.parameters)[0]


PEERS = {
    "pennon-python": PennonPython,
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "faiss-fp16": FaissFp16,
    "faiss-sq8": FaissSq8,
    "usearch": Usearch,
    "usearch-bf16": UsearchBf16,
    "usearch-i8": UsearchI8,
    "svs": Svs,
    "svs-lvq": SvsLvq,
    "vsag": Vsag,
}


def package_version(peer):
    return version(peer.package)
