"""What is made of results.jsonl: runs, what they say, and ratios within a round."""

import json
import math
import statistics
from typing import NamedTuple


class Value(NamedTuple):
    """A number; `bound` says how it is to be read: "" as it is, ">" at least, "<" at most, "~" neither."""

    number: float
    bound: str = ""


class Run:
    def __init__(self, lines):
        self.lines = lines
        for name in (
            "session",
            "scenario",
            "round",
            "system",
            "data",
            "m",
            "ef_construction",
            "batch",
            "insert_threads",
        ):
            setattr(self, name, lines[0][name])
        self.key = self.session, self.round
        self.failure = next((line["why"] for line in lines if line["what"] == "failed"), None)

    def line(self, what):
        return next((line for line in self.lines if line["what"] == what), {})

    def all(self, what):
        return [line for line in self.lines if line["what"] == what]

    def overhead_s(self):
        return self.line("overhead").get("us", 0) / 1e6

    def curve(self, call):
        """(recall, QPS) by ef; where a call is for one query, less what a call takes on ten rows."""
        overhead = self.overhead_s() if call == "search" else 0
        return [(line["recall"], 1 / max(1 / line["qps"] - overhead, 1e-9)) for line in self.all(call)]

    def qps_at(self, recall, call="search_batch"):
        """Interpolated in log QPS at exactly this recall; a bound where the fastest setting already finds more."""
        points, best = [], 0
        for found, qps in sorted(self.curve(call), reverse=True):
            if qps > best:  # a setting that another beats in both is none
                best = qps
                points.insert(0, (found, qps))
        if points and points[0][0] > recall:
            return Value(points[0][1], ">")
        for (r0, q0), (r1, q1) in zip(points, points[1:]):
            if r0 <= recall <= r1:
                share = (recall - r0) / (r1 - r0)
                return Value(math.exp(math.log(q0) * (1 - share) + math.log(q1) * share))
        return None

    def best_qps_at(self, recall):
        """In one call for all or a call a query, whichever is faster."""
        values = [value for value in (self.qps_at(recall, call) for call in ("search_batch", "search")) if value]
        return max(values, default=None)

    def filtered(self, kind, share):
        """(recall, QPS, setting) of what was tried through this filter; QPS less what a call takes on ten rows."""
        lines = [line for line in self.all("filtered") if (line["kind"], line["share"]) == (kind, share)]
        setting = lambda line: f"ef {line['ef']}" if line["way"] == "walk" else line["way"]
        return [
            (line["recall"], 1 / max(1 / line["qps"] - self.overhead_s(), 1e-9), setting(line)) for line in lines
        ]

    def rates(self):
        """(rows in the index, rows a second) along the ingest."""
        return [(chunk["rows"], 1e6 / chunk["us_per_row"]) for chunk in self.all("chunk")]

    def cost_at(self, rows):
        """Microseconds a row when the index held so many rows: the mean of the chunks that touch them."""
        costs, start = [], 0
        for chunk in self.all("chunk"):
            if start <= rows <= chunk["rows"]:
                costs.append(chunk["us_per_row"])
            start = chunk["rows"]
        return statistics.mean(costs) if costs else None

    def kept_vector_bytes(self):
        """Of the vectors that the index keeps to rank by; none where it refers to the caller's."""
        run, memory = self.line("run"), self.line("memory")
        if memory.get("caller_bytes"):
            return 0
        width = run.get("value_bytes") or {"halffloat": 2, "float": 4}[run["type"]]
        return run["rows"] * run["dim"] * width


# Figures: functions of a run that give a Value, or None where the run does not say.


def get(what, name):
    def figure(run):
        value = run.line(what).get(name)
        return None if value is None else Value(value)

    return figure


def qps(recall, call="search_batch"):
    return lambda run: run.qps_at(recall, call)


def filtered_qps(kind, share, recall):
    """Of the fastest setting that finds as much."""

    def figure(run):
        values = [qps for found, qps, _ in run.filtered(kind, share) if found >= recall]
        return Value(max(values)) if values else None

    return figure


def memory(above, below):
    return lambda run: over(get("memory", above)(run), get("memory", below)(run))


def latency(above, below):
    return lambda run: over(get("concurrent", above)(run), get("concurrent", below)(run))


def kept(run):
    return Value(run.kept_vector_bytes() / run.line("run")["rows"])


def bytes_beyond(name):
    """A row, beyond the vectors: `name` is total_bytes (reported) or rss_growth_bytes (resident)."""

    def figure(run):
        total = run.line("memory").get(name)
        return None if total is None else Value((total - run.kept_vector_bytes()) / run.line("run")["rows"])

    return figure


def cost_growth(run):
    """What a row costs at the end over what it costs at a tenth of the rows."""
    rows = run.line("insert").get("rows", 0)
    first, last = run.cost_at(rows / 10), run.cost_at(rows)
    return Value(last / first) if first and last and len(run.all("chunk")) >= 5 else None


def rate_kept(run):
    """The rate of inserting at the end over that at a tenth of the rows."""
    return over(Value(1), cost_growth(run))


def rate_of_first(rows):
    """Rows a second over the first so many."""

    def figure(run):
        seconds, start = 0, 0
        for chunk in run.all("chunk"):
            if start >= rows:
                break
            seconds += chunk["us_per_row"] * (chunk["rows"] - start) / 1e6
            start = chunk["rows"]
        return Value(start / seconds) if seconds else None

    return figure


def load(path):
    """Runs on the data of the newest session; of each scenario and kind of data those of its newest session."""
    if not path.exists():
        raise SystemExit(f"{path}: not there, measure first")
    runs = {}
    for line in map(json.loads, path.read_text().splitlines()):
        runs.setdefault((line["session"], line["run"]), []).append(line)
    runs = list(runs.values())
    given = runs[-1][0]["given"], runs[-1][0]["rows_from"]
    newest = {}
    for lines in runs:
        if (lines[0]["given"], lines[0]["rows_from"]) == given:
            key = lines[0]["scenario"], lines[0]["data"]
            newest[key] = max(newest.get(key, ""), lines[0]["session"])
    return [
        Run(lines)
        for lines in runs
        if (lines[0]["given"], lines[0]["rows_from"]) == given
        and newest[lines[0]["scenario"], lines[0]["data"]] == lines[0]["session"]
    ]


def median(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    bounds = {value.bound for value in values}
    return Value(statistics.median(value.number for value in values), bounds.pop() if len(bounds) == 1 else "~")


def over(value, base):
    """value / base, None if either is."""
    if value is None or base is None:
        return None
    flipped = {"": "", ">": "<", "<": ">", "~": "~"}[base.bound]
    bound = value.bound or flipped if not (value.bound and flipped) or value.bound == flipped else "~"
    return Value(value.number / base.number, bound)


def by_round(runs, figure):
    """{(session, round): figure of the run}; of several runs in a round the best."""
    values = {}
    for run in runs:
        value = None if run.failure else figure(run)
        if value is not None:
            values[run.key] = max(values.get(run.key, value), value)
    return values


def ratios(values, base):
    """Of two {round: figure}, in the rounds that have both."""
    return [over(value, base[key]) for key, value in values.items() if key in base]
