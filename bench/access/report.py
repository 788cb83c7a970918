"""What random-access.jsonl says: each figure's median of rounds, and the ratios that were aimed at.

report.py [FILE]"""

import collections
import json
import statistics
import sys

OWN = "pennon", "lance by pennon"
PYLANCE = "pylance", "lance by pylance"
DEFAULT = "parquet", "default row groups"


def parquet(name):
    return "parquet", name


# What, whose time over Pennon's, columns, rows, cache, and the least ratio that was aimed at.
GOALS = (
    ("take", DEFAULT, 1, "warm", 100),
    ("take", parquet("row groups of 1000"), 1, "warm", None),
    ("take", parquet("pages"), 1, "warm", 10),
    ("take", parquet("pages of 32 rows"), 1, "warm", 10),
    ("take", parquet("pages of 32 rows, binary"), 1, "warm", 10),
    ("take", PYLANCE, 1, "warm", 2),
    ("take", PYLANCE, 100, "warm", 2),
    ("take", PYLANCE, 1, "cold", None),
    ("take", PYLANCE, 100, "cold", None),
    ("scan", DEFAULT, None, "warm", 1),
    ("scan", parquet("pages of 32 rows, binary"), None, "warm", 1),
    ("scan", PYLANCE, None, "warm", None),
)
VECTOR_BYTES = 768
MOST_BYTES = 2


def show(us):
    return f"{us:.1f} us" if us < 1000 else f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.1f} s"


def print_report(path):
    rounds = collections.defaultdict(dict)  # of each kind of line, by round
    with open(path) as file:
        for line in map(json.loads, file):
            key = line["what"], (line["system"], line["format"]), line["columns"], line["rows"], line["cache"]
            rounds[key][line["round"]] = line

    def median(key, field):
        return statistics.median(line[field] for line in rounds[key].values())

    print("| | columns | rows | cache | p50 | p99 | bytes | reads |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for key in rounds:
        what, (system, form), columns, rows, cache = key
        print(f"| {what}: {system}, {form} | {columns} | {rows} | {cache} | {show(median(key, 'p50_us'))} | "
              f"{show(median(key, 'p99_us'))} | {median(key, 'bytes'):.0f} | {median(key, 'reads'):.1f} |")
    scanned = max((key[3] for key in rounds if key[0] == "scan"), default=0)
    print("\n| times Pennon's, all columns | rows | cache | ratio of p50: median of rounds (range) | aim |\n| --- | --- | --- | --- | --- |")
    for own in (OWN, ("pennon", "lance by pylance")):
        for what, other, rows, cache, aim in GOALS:
            mine, theirs = ((what, who, "all", rows or scanned, cache) for who in (own, other))
            ratios = [rounds[theirs][number]["p50_us"] / rounds[mine][number]["p50_us"] for number in rounds[mine]
                      if number in rounds[theirs]]
            if ratios:
                print(f"| {what}: {', '.join(other)}; Pennon on {own[1]} | {rows or scanned} | {cache} | {statistics.median(ratios):.3g} "
                      f"({min(ratios):.3g} to {max(ratios):.3g}) | {aim or ''} |")
    print("\n| bytes read over those of the vectors | rows | ratio | aim: at most |\n| --- | --- | --- | --- |")
    for (what, who, columns, rows, cache) in list(rounds):
        if what == "take" and columns == "vector" and cache == "warm":
            ratio = median((what, who, columns, rows, cache), "bytes") / rows / VECTOR_BYTES
            print(f"| {', '.join(who)} | {rows} | {ratio:.3g} | {MOST_BYTES if who[0] == 'pennon' else ''} |")


if __name__ == "__main__":
    print_report(sys.argv[1] if len(sys.argv) > 1 else "build/bench/random-access.jsonl")
