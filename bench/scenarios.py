"""What each scenario runs. A scenario yields jobs and gets each one's JSON lines back."""

import dataclasses

import datasets
import masks

K = 10
M, EF_CONSTRUCTION = 16, 100
EF = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320]
FILTERED_EF = (450, 640, 900, 1280, 1800, 2560, 3600, 5120, 7200, 10240)
READER_EF = 64
BASELINE = "hnswlib"
SYSTEMS = [
    "pennon",
    "hnswlib",
    "pennon-exact",
    "pennon-python",
    "faiss",
    "faiss-fp16",
    "faiss-sq8",
    "usearch",
    "usearch-bf16",
    "usearch-i8",
    "svs",
    "svs-lvq",
    "vsag",
]


@dataclasses.dataclass(frozen=True)
class Job:
    system: str
    dataset: datasets.Dataset
    threads: int
    batch: int = 1000
    chunk: int = 0  # rows of a figure of the ingest's series; 0: a twentieth
    m: int = M
    ef_construction: int = EF_CONSTRUCTION
    ef: tuple = (READER_EF,)
    passes: int = 1
    calls: tuple = ("search_batch",)  # Pennon always makes both
    readers: int = 0  # that search meanwhile
    masks: str = ""  # the file of filters; then nothing else is measured

    def __str__(self):
        return (
            f"{self.system}, {self.dataset.name}, batches of {self.batch}, {self.threads} threads, m {self.m}, "
            f"ef_construction {self.ef_construction}"
        )

    def record(self):
        return {
            "data": self.dataset.name,
            "about": self.dataset.about,
            "metric": self.dataset.metric,
            "batch": self.batch,
            "insert_threads": self.threads,
            "m": self.m,
            "ef_construction": self.ef_construction,
            "passes": self.passes,
            "readers": self.readers,
        }


def _chosen(args, names):
    return [name for name in names if not args.systems or name in args.systems]


def main(args):
    """Everything about one index: batches of 1,000, all threads; searches one at a time and in one call; memory."""
    for system in _chosen(args, SYSTEMS):
        yield Job(
            system, args.source, args.threads, ef=tuple(args.ef), passes=args.passes, calls=("search", "search_batch")
        )


def tens(args):
    """Batches of 10, all threads. SVS is made for large batches and left out."""
    for system in _chosen(args, ["pennon", "hnswlib", "faiss", "usearch"]):
        yield Job(system, args.source, args.threads, batch=10)


def rows(args):
    """Row by row, one thread, a call a row."""
    for system in _chosen(args, ["pennon", "hnswlib", "faiss", "usearch"]):
        yield Job(system, args.source, 1, batch=1)


def ingest(args):
    """Searches while rows arrive: one reader, and the other processors insert."""
    for system in _chosen(args, ["pennon"]):
        yield Job(system, args.source, max(1, args.threads - 1), ef=(READER_EF,), passes=max(3, args.passes), readers=1)


# ef_construction by m.
PENNON_GRID = {
    12: (100,),
    16: (100, 150, 200, 300),
    20: (150, 200, 300),
    24: (150, 200, 300),
    32: (200, 300, 400),
    48: (300, 400),
}
PEER_GRID = {8: (100, 160), 12: (80, 100, 140), 16: (60, 80, 100, 140), 24: (50, 80, 120), 32: (50, 80)}
QUICK = {(12, 100), (16, 100), (16, 200), (24, 80), (24, 200), (32, 300)}


def sweep(args):
    """m and ef_construction, as far as the insertion takes no longer than the baseline's with the usual ones."""
    usual, budget = (M, EF_CONSTRUCTION), None
    others = ["pennon", "faiss", "faiss-fp16", "usearch-bf16", "svs", "svs-lvq", "vsag"]
    for system in [BASELINE, *_chosen(args, others)]:
        grid = PENNON_GRID if system == "pennon" else PEER_GRID
        points = [(m, ef_construction) for m in grid for ef_construction in grid[m]]
        points = [point for point in points if not args.quick or point in QUICK]
        if system == BASELINE:
            points.sort(key=lambda point: point != usual)
        calls = ("search",) if system == "vsag" else ("search_batch",)
        slow = []
        for point in points:
            if any(point[0] >= m and point[1] >= ef_construction for m, ef_construction in slow):
                continue
            shared = {"ef": tuple(args.ef), "passes": args.passes, "calls": calls}
            lines = yield Job(system, args.source, args.threads, m=point[0], ef_construction=point[1], **shared)
            seconds = next((line["seconds"] for line in lines if line["what"] == "insert"), None)
            if seconds is None and budget is None:
                return
            if seconds is None:
                break
            budget = budget or seconds
            if seconds > budget:
                slow.append(point)


def kinds(args):
    """Other data and metrics, with many queries: differences of recall in the third digit matter."""
    for name in args.kinds:
        dataset = datasets.kind(name, args.source, args.kind_rows)
        for system in _chosen(args, ["pennon", "hnswlib", "pennon-exact"]):
            yield Job(system, dataset, args.threads, ef=tuple(args.ef) + (450, 640))


def million(args):
    """Ten times the rows, no nearer to each other."""
    dataset = datasets.million(args.source, args.million_rows)
    for system in _chosen(args, ["pennon", "hnswlib"]):
        yield Job(system, dataset, args.threads, ef=tuple(args.ef), calls=("search_batch",))


def filters(args):
    """Searches through filters, a call a query; see masks.py. Larger ef are tried until enough is found."""
    path = masks.of(args.source, 50 if args.quick else 200, K)
    for system in _chosen(args, ["pennon", "hnswlib", "faiss"]):
        yield Job(system, args.source, args.threads, ef=tuple(args.ef) + FILTERED_EF, masks=path)


def next_job(steps, lines):
    """The next job of a scenario that is given the lines of its last one, None after the last."""
    try:
        return steps.send(lines)
    except StopIteration:
        return None


SCENARIOS = {function.__name__: function for function in (main, tens, rows, ingest, sweep, kinds, million, filters)}
