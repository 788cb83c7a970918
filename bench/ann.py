"""Pennon as ann-benchmarks calls an index: fit, query, batch_query, set_query_arguments."""

import pennon


class Pennon:
    """Takes its rows in batches too: each fit adds to those before."""

    def __init__(self, metric, arguments):
        """metric: as ann-benchmarks names it, or l2, cosine, dot. arguments: m, ef_construction, threads, codes."""
        self.metric = {"euclidean": "l2", "angular": "cosine"}.get(metric, metric)
        self.threads = arguments.get("threads")
        self.build = {name: arguments[name] for name in ("m", "ef_construction", "codes") if name in arguments}
        self.index = None
        self.ef = None
        self.found = None

    def fit(self, vectors, row_ids=None):
        if self.index is None:
            self.index = pennon.Index(vectors.shape[1], self.metric, **self.build)
        self.index.append(vectors, row_ids, self.threads)

    def set_query_arguments(self, ef):
        self.ef = ef

    def query(self, vector, k):
        return self.index.search_raw(vector, k, self.ef).to_numpy()[0]

    def batch_query(self, vectors, k):
        self.found = self.index.search_raw(vectors, k, self.ef).to_numpy()[0]

    def get_batch_results(self):
        return self.found

    def get_memory_usage(self):
        """kB"""
        usage = self.index.memory_usage()
        return (usage.total + usage.caller_bytes) / 1024

    def done(self):
        self.index = None

    def __str__(self):
        build = ", ".join(f"{name} {value}" for name, value in self.build.items())
        return f"Pennon({self.metric}, {build}, ef {self.ef})"
