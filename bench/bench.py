"""Pennon and its peers on the same files, interleaved, several rounds: `make bench [DATA=path QUERIES=path]`.

Writes build/bench/results.jsonl (a line for each figure, with machine, versions and parameters), build/bench/report.html
and report.md. Ratios are taken within a round, both sides of it; the report shows their median.
"""

import argparse
import base64
import datetime
import html
import io
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "bench"
BASELINE = "hnswlib"


def cpu():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return f"{names[0]}, {len(names)} processors" if names else platform.machine()


def run(system, args):
    """The JSON lines of one run; none if the system is not there."""
    common = ["--ef", args.ef, "--batch", str(args.batch), "--threads", str(args.threads), "--m", str(args.m),
              "--ef-construction", str(args.ef_construction)]
    if system.startswith("pennon"):
        lines = OUT / "replay.jsonl"
        queries = ["--queries", args.queries] if args.queries else []
        codes = "none" if system == "pennon-exact" else "8"
        command = [ROOT / "build/release/pennon", "replay", args.data, *queries, *common, "--readers", "0", "--codes", codes,
                   "--json", lines]
        done = subprocess.run(command, capture_output=True, text=True)
        output = lines.read_text() if done.returncode == 0 else ""
    else:
        command = [sys.executable, ROOT / "bench/peers.py", system, args.data, *([args.queries] if args.queries else []), *common]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        output = done.stdout
    if done.returncode != 0:
        print(f"{system}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}", file=sys.stderr)
        return []
    return [json.loads(line) for line in output.splitlines()]


def curve(lines, what):
    return sorted((line["recall"], line["qps"]) for line in lines if line["what"] == what)


def qps_at(points, recall):
    """Interpolated in log QPS; None outside the curve."""
    for (r0, q0), (r1, q1) in zip(points, points[1:]):
        if r0 <= recall <= r1 and r1 > r0:
            share = (recall - r0) / (r1 - r0)
            return math.exp(math.log(q0) * (1 - share) + math.log(q1) * share)
    return None


def figures(lines):
    """What the report compares, of one run."""
    of = {line["what"]: line for line in lines}
    one, batch = curve(lines, "search"), curve(lines, "search_batch")
    insert = of["insert"]
    in_one_go = insert["batch"] >= insert["rows"]
    return {
        "insert rows/s": insert["rows_per_s"],
        **{f"QPS at recall {r}, one call": qps_at(batch, r) for r in (0.95, 0.99)},
        **{f"QPS at recall {r}, a call a query": qps_at(one, r) for r in (0.95, 0.99)},
        "us/row, last tenth over first":
            None if in_one_go else insert["last_tenth_us_per_row"] / insert["first_tenth_us_per_row"],
    }


def plot(runs):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for system, rounds in runs.items():
        best = max(rounds, key=lambda lines: sum(q for _, q in curve(lines, "search_batch")))
        points = curve(best, "search_batch")
        axes.plot([r for r, _ in points], [q for _, q in points], marker="o", label=system,
                  linewidth=3 if system.startswith("pennon") else 1.5)
    axes.set(xlabel="recall@10", ylabel="queries a second, one thread", yscale="log", title="Search")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="svg", bbox_inches="tight")
    return image.getvalue()


def report(runs, args, machine):
    names = list(figures(next(iter(runs.values()))[0]))
    rows = []
    for system, rounds in runs.items():
        cells = []
        for name in names:
            values = [figures(lines)[name] for lines in rounds]
            base = [figures(lines)[name.replace("a call a query", "one call")] for lines in runs.get(BASELINE, [])]
            present = [v for v in values if v is not None]
            ratios = [v / b for v, b in zip(values, base) if v is not None and b is not None]
            text = f"{statistics.median(present):,.{0 if statistics.median(present) > 100 else 2}f}" if present else "-"
            if ratios and "over" not in name:
                text += f" ({statistics.median(ratios):.2f} ×)"
            cells.append(text)
        note = next((line.get("note", "") for line in rounds[0] if line["what"] == "run"), "")
        version = next(line["version"] for line in rounds[0] if line["what"] == "run")
        rows.append((f"{system} {version}", cells, note))
    lines = [f"| system | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    lines += [f"| {system} | {' | '.join(cells)} |" for system, cells, _ in rows]
    (OUT / "report.md").write_text("\n".join(lines) + "\n")
    width = max(len(name) for name, _, _ in rows)
    for index, name in enumerate(names):
        print(f"\n{name}")
        for system, cells, _ in rows:
            print(f"  {system:{width}}  {cells[index]}")
    picture = base64.b64encode(plot(runs)).decode()
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr><td>" + html.escape(system) + "</td>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) +
                   f"<td>{html.escape(note)}</td></tr>" for system, cells, note in rows)
    (OUT / "report.html").write_text(f"""<!doctype html><meta charset="utf-8"><title>Pennon and its peers</title>
<style>body{{font:16px system-ui;max-width:75em;margin:2em auto;padding:0 1em}}td,th{{padding:.3em .7em;text-align:right}}
td:first-child,td:last-child{{text-align:left}}tr:nth-child(even){{background:#f4f4f4}}</style>
<h1>Pennon and its peers</h1>
<p>{html.escape(machine)}; {html.escape(args.data)}; m {args.m}, ef_construction {args.ef_construction}, batches of
{args.batch}, {args.threads} insert threads, 1 search thread; {args.rounds} rounds, interleaved. Medians; in brackets the
median ratio over {BASELINE} in the same round (a call a query is held against its one call for all).</p>
<table><tr><th>system</th>{head}<th>note</th></tr>{body}</table>
<p><img alt="recall against queries a second" src="data:image/svg+xml;base64,{picture}"></p>""")
    print(f"\n{OUT / 'report.html'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=str(ROOT / "data/packages-10k.parquet"))
    parser.add_argument("--queries", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ef", default="16,32,64,128,256")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--systems", default="pennon,pennon-exact,hnswlib,faiss,faiss-sq8,usearch,usearch-i8,svs,vsag")
    parser.add_argument("--report", action="store_true", help="measure nothing: the report of the last run again")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    machine = cpu()
    runs = {}
    if args.report:
        for line in map(json.loads, (OUT / "results.jsonl").read_text().splitlines()):
            rounds = runs.setdefault(line["system"], [])
            if line["what"] == "run":
                rounds.append([])
            rounds[-1].append(line)
        return report(runs, args, machine)
    with open(OUT / "results.jsonl", "w") as results:
        for number in range(args.rounds):
            for system in args.systems.split(","):
                lines = run(system, args)
                if not lines:
                    continue
                runs.setdefault(system, []).append(lines)
                for line in lines:
                    stamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                    results.write(json.dumps({"system": system, "round": number, "time": stamp, "machine": machine,
                                              "data": args.data, **line}) + "\n")
                print(f"round {number + 1} of {args.rounds}: {system}", flush=True)
    if not runs:
        raise SystemExit("no system ran")
    report(runs, args, machine)


if __name__ == "__main__":
    main()
