"""faiss, filtered: what filtered.cc does for Pennon and hnswlib, with the same options and the same JSON lines."""

import argparse
import time
from importlib.metadata import version

import faiss
import numpy
import pyarrow.ipc

import datasets
from run_peer import say


class Group:
    """The questions of a share and a kind: (query, selector, truth)."""

    def __init__(self, share, kind):
        self.share, self.kind, self.questions = share, kind, []


def read_groups(path, queries):
    groups, selector = [], None
    columns = pyarrow.ipc.open_file(path).read_all().to_pydict()
    for share, kind, query, mask, truth in zip(*columns.values()):
        if not groups or (groups[-1].share, groups[-1].kind) != (share, kind):
            groups.append(Group(share, kind))
        if mask is not None:
            selector = faiss.IDSelectorBitmap(numpy.frombuffer(mask, numpy.uint8))
        groups[-1].questions.append((queries[query : query + 1], selector, set(truth)))
    return groups


def measure(group, args, index, make_parameters):
    """Recall and QPS, the fastest pass counts, and whether the time ran out."""
    questions = [(query, make_parameters(selector)) for query, selector, _ in group.questions]
    total, fastest, cut = 0, 0, False
    while total < args.seconds and not cut:
        found = []
        start = time.perf_counter()
        for query, parameters in questions:
            found.append(index.search(query, args.k, params=parameters)[1][0])
            cut = time.perf_counter() - start > args.cap
            if cut:
                break
        seconds = time.perf_counter() - start
        total, fastest = total + seconds, max(fastest, len(found) / seconds)
    truths = [truth for _, _, truth in group.questions[: len(found)]]
    hits = sum(len(truth.intersection(ids.tolist())) for truth, ids in zip(truths, found))
    return hits / sum(min(args.k, len(truth)) for truth in truths), fastest, cut


def main():
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("queries")
    parser.add_argument("masks")
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--ef", type=numbers, required=True)
    parser.add_argument("--m", type=int, required=True)
    parser.add_argument("--ef-construction", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="to insert")
    parser.add_argument("--enough", type=float, required=True, help="recall after which no larger ef is tried")
    parser.add_argument("--seconds", type=float, required=True, help="of passes over the queries, at least")
    parser.add_argument("--cap", type=float, required=True, help="seconds after which a pass is cut, and is the last")
    args = parser.parse_args()

    data, queries = datasets.read(args.data), datasets.read(args.queries)
    note = "called from Python"
    say(what="run", version=version("faiss-cpu"), note=note, rows=len(data), dim=data.shape[1], metric="l2")
    faiss.omp_set_num_threads(args.threads)
    graph, flat = faiss.IndexHNSWFlat(data.shape[1], args.m), faiss.IndexFlatL2(data.shape[1])
    graph.hnsw.efConstruction = args.ef_construction
    graph.add(data)
    flat.add(data)
    faiss.omp_set_num_threads(1)

    for group in read_groups(args.masks, queries):

        def report(way, ef, measured, group=group):
            recall, qps, _ = measured
            say(what="filtered", kind=group.kind, share=group.share, way=way, ef=ef, recall=recall, qps=qps)

        scan = measure(group, args, flat, lambda selector: faiss.SearchParameters(sel=selector))
        report("scan", 0, scan)
        for ef in args.ef:
            walk = measure(group, args, graph, lambda sel, ef=ef: faiss.SearchParametersHNSW(efSearch=ef, sel=sel))
            report("walk", ef, walk)
            recall, qps, cut = walk
            if recall >= args.enough or cut or (scan[0] >= args.enough and qps < scan[1]):
                break

    # Microseconds that a call takes where there is hardly anything to search.
    small = faiss.IndexHNSWFlat(data.shape[1], args.m)
    small.add(data[:10])
    every = Group(1, "random")
    selector = faiss.IDSelectorBitmap(numpy.full(2, 255, numpy.uint8))
    every.questions = [(query[None], selector, {0}) for query in queries]
    _, qps, _ = measure(every, args, small, lambda sel: faiss.SearchParametersHNSW(efSearch=args.ef[0], sel=sel))
    say(what="overhead", us=1e6 / qps)


if __name__ == "__main__":
    main()
