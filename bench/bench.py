"""Pennon and its peers on the same data, in rounds: `bench.py --scenario main tens rows ingest sweep`, and kinds, million
and filters.

Appends build/bench/results.jsonl, a line a figure with machine, versions and parameters, and writes the page that shows
them, build/bench/report.html; see scenarios.py for what each scenario does and figures.py for what is made of it.
"""

import argparse
import datetime
import functools
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import datasets
import report
import scenarios
import truth

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "bench"
TIMEOUT = 3600


def machine():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    with open("/proc/meminfo") as info:
        gib = int(info.readline().split()[1]) / 2**20
    return f"{names[0] if names else platform.machine()}, {len(names) or os.cpu_count()} processors, {gib:.0f} GiB"


def revision():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


@functools.lru_cache(maxsize=1)
def truth_of(dataset):
    return truth.Truth(dataset, scenarios.K)


def filtered_command(job, program):
    if job.system == "faiss":
        start = [sys.executable, "-B", ROOT / "bench" / "run_filtered.py"]
    else:
        start = [pathlib.Path(program).with_name("pennon_filtered"), "--system", job.system]
    options = {
        "--k": scenarios.K,
        "--ef": ",".join(map(str, job.ef)),
        "--m": job.m,
        "--ef-construction": job.ef_construction,
        "--threads": job.threads,
        "--enough": 0.97,
        "--seconds": 0.5,
        "--cap": 20,
    }
    words = [*start, job.dataset.rows, job.dataset.queries, job.masks, *itertools.chain(*options.items())]
    return [str(word) for word in words]


def command(job, program, answers, lines):
    if job.masks:
        return filtered_command(job, program)
    common = [
        "--metric",
        job.dataset.metric,
        "--k",
        scenarios.K,
        "--ef",
        ",".join(map(str, job.ef)),
        "--passes",
        job.passes,
        "--batch",
        job.batch,
        "--chunk",
        job.chunk,
        "--threads",
        job.threads,
        "--m",
        job.m,
        "--ef-construction",
        job.ef_construction,
        "--answers",
        answers,
    ]
    if job.system in ("pennon", "pennon-exact"):
        codes = "none" if job.system == "pennon-exact" else "8"
        start = [
            program,
            "replay",
            job.dataset.rows,
            "--queries",
            job.dataset.queries,
            "--readers",
            job.readers,
            "--codes",
            codes,
            "--no-exact",
            "--json",
            lines,
        ]
    else:
        start = [
            sys.executable,
            "-B",
            ROOT / "bench" / "run_peer.py",
            job.system,
            job.dataset.rows,
            job.dataset.queries,
            "--calls",
            ",".join(job.calls),
        ]
    return [str(word) for word in start + common]


def run(job, program):
    """The JSON lines of one job, recall filled in; one line that says why if it failed."""
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        answers, lines = pathlib.Path(folder, "answers.arrow"), pathlib.Path(folder, "lines.jsonl")
        # Threads that spin after their work would take a processor from the next call of a machine with few.
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        try:
            done = subprocess.run(
                command(job, program, answers, lines), capture_output=True, text=True, env=environment, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return [{"what": "failed", "why": f"took longer than {TIMEOUT} s"}]
        except OSError as error:
            return [{"what": "failed", "why": str(error)}]
        if done.returncode != 0 or not (job.masks or answers.exists()):
            words = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()
            return [{"what": "failed", "why": words[-1]}]
        results = [json.loads(line) for line in (lines.read_text() if lines.exists() else done.stdout).splitlines()]
        recalls = {} if job.masks else truth_of(job.dataset).recalls(answers)
    for line in results:
        if line["what"] in ("search", "search_batch"):
            line["recall"] = recalls[line["what"], line["ef"]]
    return results


def measure(args):
    OUT.mkdir(parents=True, exist_ok=True)
    now = lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    session = {
        "session": now(),
        "machine": machine(),
        "revision": revision(),
        "given": args.source.name,
        "rows_from": args.source.rows_from,
        "queries_from": args.source.queries_from,
    }
    numbers = itertools.count()
    with open(OUT / "results.jsonl", "a") as results:
        for number, name in itertools.product(range(args.rounds), args.scenario):
            steps, lines = scenarios.SCENARIOS[name](args), None
            while (job := scenarios.next_job(steps, lines)) is not None:
                start = time.monotonic()
                lines = run(job, args.pennon)
                seconds = time.monotonic() - start
                failure = f", failed: {lines[0]['why']}" if lines[0]["what"] == "failed" else ""
                print(f"round {number + 1} of {args.rounds}, {name}: {job}: {seconds:.0f} s{failure}", flush=True)
                common = {
                    **session,
                    "run": next(numbers),
                    "time": now(),
                    "load": os.getloadavg()[0],
                    "scenario": name,
                    "round": number,
                    "system": job.system,
                    "version": lines[0].get("version"),
                    **job.record(),
                }
                results.writelines(json.dumps({**common, **line}) + "\n" for line in lines)
                results.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scenario",
        nargs="+",
        default=["main", "tens", "rows", "ingest", "sweep"],
        choices=list(scenarios.SCENARIOS),
        metavar="NAME",
        help=", ".join(scenarios.SCENARIOS),
    )
    parser.add_argument("--data", default=str(ROOT / "data" / "packages-10k.parquet"), help="Parquet file of vectors")
    parser.add_argument(
        "--queries", default="", help="another; without it the last rows of DATA are asked, not inserted"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=scenarios.SYSTEMS,
        metavar="NAME",
        help="only these: " + ", ".join(scenarios.SYSTEMS),
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=list(datasets.KINDS),
        choices=list(datasets.KINDS),
        metavar="NAME",
        help="only these kinds of data: " + ", ".join(datasets.KINDS),
    )
    parser.add_argument("--kind-rows", type=int, default=100_000, help="vectors of each kind")
    parser.add_argument("--million-rows", type=int, default=1_000_000)
    parser.add_argument("--ef", type=lambda text: [int(word) for word in text.split(",")], default=scenarios.EF)
    parser.add_argument("--passes", type=int, default=2, help="over the queries at each ef; the fastest counts")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="to insert")
    parser.add_argument("--quick", action="store_true", help="fewer parameters in the sweep, fewer filters")
    parser.add_argument("--pennon", default=str(ROOT / "build" / "release" / "pennon"), help="the program")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the report again")
    args = parser.parse_args()
    if not args.report:
        args.source = datasets.given(args.data, args.queries)
        measure(args)
    report.write(OUT)


if __name__ == "__main__":
    main()
