"""The page and its tables, build/bench/report.html, report.md and *.svg, out of results.jsonl. Nothing is typed in."""

import statistics

import figures
import masks
import plots
from figures import Value, by_round, cost_growth, get, median, over, qps, ratios
from page import Page, number, ratio
from scenarios import BASELINE, EF_CONSTRUCTION, READER_EF, SYSTEMS, K, M

RECALLS = (0.95, 0.99)
LOWER_RECALLS = (0.9, 0.8, 0.7, 0.5)

rows_per_s = get("insert", "rows_per_s")


class Results:
    def __init__(self, runs):
        self.runs = runs

    def of(self, scenario, data=None):
        """{system: runs that did not fail}, in the order of SYSTEMS."""
        found = {system: [] for system in SYSTEMS}
        for run in self.runs:
            if run.scenario == scenario and data in (None, run.data) and not run.failure:
                found[run.system].append(run)
        return {system: runs for system, runs in found.items() if runs}

    def data(self, scenario):
        return list(dict.fromkeys(run.data for run in self.runs if run.scenario == scenario and not run.failure))


def name_of(runs):
    return f"{runs[0].system} {runs[0].line('run')['version']}"


def note_of(runs):
    run = runs[0].line("run")
    return run["note"] if "note" in run else {"halffloat": "float16 vectors", "float": "float32 vectors"}[run["type"]]


def cell(runs, figure):
    """The median of the rounds."""
    return number(median(by_round(runs, figure).values()))


def cell_over(systems, system, figure):
    """The median of the rounds, and that of the ratios over the baseline."""
    values = by_round(systems.get(system, []), figure)
    times = median(ratios(values, by_round(systems.get(BASELINE, []), figure)))
    return number(median(values.values())) + (f" ({number(times, ' ×')})" if times else "")


def compared(ours, theirs):
    """Of two {round: figure}: both medians, and the rounds' ratios."""
    return [number(median(ours.values())), number(median(theirs.values())), ratio(ratios(ours, theirs))]


def against(systems, figure):
    return compared(by_round(systems.get("pennon", []), figure), by_round(systems.get(BASELINE, []), figure))


def alone(systems, figure):
    return [cell(systems.get("pennon", []), figure), "", ""]


def against_best(systems, recall):
    """One query at a time, over the best peer of each round."""
    ours, best = by_round(systems.get("pennon", []), qps(recall, "search")), {}
    for system, runs in systems.items():
        if not system.startswith("pennon"):
            for key, value in by_round(runs, qps(recall, "search")).items():
                best[key] = max(best.get(key, (value, system)), (value, system))
    cells = compared(ours, {key: value for key, (value, _) in best.items()})
    if best:
        cells[1] += f" ({', '.join(dict.fromkeys(system for _, system in best.values()))})"
    return cells


class Sweep:
    """Of each system and round the best choice of m and ef_construction within the baseline's insert time."""

    def __init__(self, systems):
        self.systems = systems
        standard = [run for run in systems.get(BASELINE, []) if (run.m, run.ef_construction) == (M, EF_CONSTRUCTION)]
        self.budgets = by_round(standard, get("insert", "seconds"))
        self.best = {}  # (system, recall): {round: (QPS, m, ef_construction)}
        for system, runs in systems.items():
            for run in runs:
                if run.key not in self.budgets or run.line("insert")["seconds"] > self.budgets[run.key].number:
                    continue
                for recall in RECALLS:
                    value = run.best_qps_at(recall)
                    if value is not None:
                        choice = value, run.m, run.ef_construction
                        rounds = self.best.setdefault((system, recall), {})
                        rounds[run.key] = max(rounds.get(run.key, choice), choice)

    def values(self, system, recall):
        return {key: choice[0] for key, choice in self.best.get((system, recall), {}).items()}

    def chosen(self, system, recall):
        choices = self.best.get((system, recall), {}).values()
        return ", ".join(dict.fromkeys(f"{m}/{ef_construction}" for _, m, ef_construction in choices)) or "-"

    def points(self, recall):
        """{system: [(insert seconds, QPS)]}, a point for each choice that was tried."""
        points = {}
        for system, runs in self.systems.items():
            tried = {}
            for run in runs:
                value = run.best_qps_at(recall)
                if value is not None:
                    point = run.line("insert")["seconds"], value.number
                    tried.setdefault((run.m, run.ef_construction), []).append(point)
            points[system] = [plots.middle(pairs) for pairs in tried.values()]
        return points


def headline(page, results, sweep):
    main, ingest = results.of("main"), results.of("ingest")
    rows = []
    for scenario, words in (
        ("main", "batches of 1,000, all threads"),
        ("tens", "batches of 10, all threads"),
        ("rows", "row by row, one thread"),
    ):
        if results.of(scenario):
            rows.append([f"insert, {words}: rows/s", *against(results.of(scenario), rows_per_s)])
    if main:
        rows += [[f"one query at a time, recall {r}: QPS", *against(main, qps(r, "search"))] for r in RECALLS]
        rows += [[f"the same against the best peer, recall {r}: QPS", *against_best(main, r)] for r in RECALLS]
        rows += [[f"queries in one call, recall {r}: QPS", *against(main, qps(r))] for r in RECALLS]
        reported, resident = figures.bytes_beyond("total_bytes"), figures.bytes_beyond("rss_growth_bytes")
        rows += [
            ["cost of a row at the end over that at a tenth of the rows", *against(main, cost_growth)],
            ["bytes a row beyond the vectors, reported", *against(main, reported)],
            ["the same, growth of the resident set", *against(main, resident)],
            ["reported memory, peak over final", *alone(main, figures.memory("peak_bytes", "total_bytes"))],
            ["resident growth over reported", *against(main, figures.memory("rss_growth_bytes", "total_bytes"))],
        ]
    if ingest:
        rows += [
            ["search p99, rows arriving over idle", *alone(ingest, figures.latency("p99_us", "idle_p99_us"))],
            ["search p99 over p50, idle", *alone(ingest, figures.latency("idle_p99_us", "idle_p50_us"))],
        ]
    for recall in RECALLS:
        if sweep.values("pennon", recall):
            cells = compared(sweep.values("pennon", recall), sweep.values(BASELINE, recall))
            rows.append([f"best parameters for {BASELINE}'s insert time, recall {recall}: QPS", *cells])
    for data in results.data("million"):
        cells = against(results.of("million", data), figures.rate_kept)
        rows.append([f"{data}: insert rate at the end over that at a tenth of the rows", *cells])
    for recall in RECALLS:
        least = []
        for data in results.data("kinds"):
            systems = results.of("kinds", data)
            ours, theirs = (by_round(systems.get(name, []), qps(recall)) for name in ("pennon", BASELINE))
            least += [(value, data) for value in [median(ratios(ours, theirs))] if value]
        if least:
            value, data = min(least)
            rows.append([f"other kinds of data, recall {recall}: the least, {data}", "", "", number(value, " ×")])
    filtered = results.of("filters")
    for peer in [system for system in filtered if system != "pennon"]:
        least = []
        for share, kind in masks.groups():
            figure = figures.filtered_qps(kind, share, RECALLS[0])
            ours, theirs = (by_round(filtered.get(name, []), figure) for name in ("pennon", peer))
            least += [(value, f"{kind}, {share:g}") for value in [median(ratios(ours, theirs))] if value]
        if least:
            value, data = min(least)
            rows.append([f"filtered, recall {RECALLS[0]}: the least over {peer}, {data}", "", "", number(value, " ×")])
    page.heading(2, "In short")
    page.table(["", "pennon", BASELINE, f"over {BASELINE}, or the peer named"], rows)
    page.text(f"""Medians of the rounds; ratios are taken within a round, and their range is in brackets. QPS at a
        recall is interpolated in log QPS at exactly that recall@{K}; ≥ and ≤ mark bounds, where a system's fastest
        setting already finds more. One query at a time: from a peer's time a query what the same call takes on an index
        of ten rows is subtracted, so that Python's part is not held against it; from Pennon's nothing is. Searches
        run on one thread.""")


def search(page, results, folder):
    systems = results.of("main")
    if not systems:
        return
    page.heading(2, "Search")
    some = next(iter(systems.values()))[0]
    title = (
        f"{some.data}: {some.line('run')['rows']:,} rows of {some.line('run')['dim']} dimensions, m {some.m}, "
        f"ef_construction {some.ef_construction}, queries in one call"
    )
    page.plot(plots.recall_qps(systems, title, folder / "recall-qps.svg"), "recall against queries a second")
    columns = [(call, recall) for call in ("search_batch", "search") for recall in RECALLS]
    rows = []
    for system, runs in systems.items():
        cells = [cell_over(systems, system, qps(recall, call)) for call, recall in columns]
        rows.append([name_of(runs), *cells, cell(runs, get("overhead", "us")), note_of(runs)])
    names = {"search_batch": "one call for all", "search": "a call a query"}
    head = [f"{names[call]}, {recall}" for call, recall in columns]
    page.table(["QPS at a recall", *head, "a call on ten rows, µs", "what is unequal"], rows, words={6})
    page.text(f"""In brackets: over {BASELINE} in the same round. A call a query: less the call on ten rows. A dash: the
        recall was not reached at any ef tried, or there is no such call.""")


def insertion(page, results, folder):
    columns = {"main": "batches of 1,000", "tens": "batches of 10", "rows": "row by row"}
    columns = {scenario: words for scenario, words in columns.items() if results.of(scenario)}
    if not columns:
        return
    page.heading(2, "Insertion")
    main = results.of("main")
    if main:
        page.plot(plots.insert_rate(main, folder / "insert-rate.svg"), "insert rate against rows in the index")
    rows, head = [], []
    for scenario, words in columns.items():
        threads = next(iter(results.of(scenario).values()))[0].insert_threads
        head.append(f"{words}, {threads} thread{'s' if threads > 1 else ''}")
    for system in SYSTEMS:
        runs = [run for scenario in columns for run in results.of(scenario).get(system, [])]
        if runs:
            cells = [cell_over(results.of(scenario), system, rows_per_s) for scenario in columns]
            rows.append([name_of(runs), *cells, cell(main.get(system, []), cost_growth), note_of(runs)])
    head = ["rows/s", *head, "cost of a row, end over a tenth", "what is unequal"]
    page.table(head, rows, words={len(head) - 1})


def latency(page, results, folder):
    runs = results.of("ingest").get("pennon")
    if not runs:
        return
    page.heading(2, "Searching while rows arrive")
    page.plot(plots.ingest_latency(runs, folder / "ingest-latency.svg"), "latency against rows in the index")
    rows = []
    for words, prefix in (("over the last tenth of the rows", ""), ("idle, all rows in", "idle_")):
        p50, p99 = f"{prefix}p50_us", f"{prefix}p99_us"
        cells = [cell(runs, get("concurrent", name)) for name in (p50, p99)]
        rows.append([words, *cells, cell(runs, figures.latency(p99, p50))])
    page.table(["µs a search", "p50", "p99", "p99 over p50"], rows)
    threads = f"{runs[0].insert_threads} thread{'s insert' if runs[0].insert_threads > 1 else ' inserts'}"
    page.text(f"""One thread asks one query after the other at ef {READER_EF} while {threads} batches of
        {runs[0].batch:,} rows at full speed. Peers are not shown: hnswlib and faiss say that an index must not be
        searched while it is added to.""")


def memory(page, results, folder):
    bars, rows = {}, []
    for system, runs in results.of("main").items():
        beyond = [figures.bytes_beyond(name) for name in ("total_bytes", "rss_growth_bytes")]
        reported, resident = (median(by_round(runs, figure).values()) for figure in beyond)
        bars[system] = resident.number, reported.number if reported else None
        parts = (
            ("rss_growth_bytes", "total_bytes"),
            ("rss_peak_growth_bytes", "rss_growth_bytes"),
            ("peak_bytes", "total_bytes"),
        )
        cells = [cell(runs, figures.memory(*pair)) for pair in parts]
        rows.append([name_of(runs), cell(runs, figures.kept), number(reported), number(resident), *cells])
    if not rows:
        return
    page.heading(2, "Memory")
    page.plot(plots.memory(bars, folder / "memory.svg"), "bytes a row beyond the vectors")
    head = ["bytes a row", "vectors kept", "beyond them, reported", "beyond them, resident", "resident over reported"]
    page.table([*head, "peak over final, resident", "peak over final, reported"], rows)
    page.text("""Vectors kept: those that results are ranked by, in the type that the system keeps them in. Reported:
        what the index itself says (hnswlib's and faiss's are the size of the index saved). Resident: growth of the
        process's resident set from before the index was made to after the last row, everything counted.""")


def best_parameters(page, sweep, folder):
    if not sweep.best:
        return
    page.heading(2, "Best parameters for a given insert time")
    seconds = median(sweep.budgets.values()).number
    svg = plots.sweep(sweep.points(RECALLS[0]), seconds, RECALLS[0], folder / "sweep.svg")
    page.plot(svg, "queries a second against insert time")
    rows = []
    for system, runs in sweep.systems.items():
        cells = [name_of(runs)]
        for recall in RECALLS:
            values = sweep.values(system, recall)
            times = ratio(ratios(values, sweep.values(BASELINE, recall)))
            cells += [number(median(values.values())), times, sweep.chosen(system, recall)]
        rows.append(cells)
    head = [words for r in RECALLS for words in (f"QPS at {r}", f"over {BASELINE}", "m/ef_construction")]
    page.table(["", *head], rows, words={3, 6})
    page.text(f"""The dashed line is what {BASELINE} takes to insert at m {M} and ef_construction {EF_CONSTRUCTION}
        ({seconds:,.1f} s); within a round only what takes no longer counts. Where rounds chose different parameters,
        all are named. Parameters beyond ones that took too long were not tried. Queries in one call; vsag, which has
        none, a call a query less its overhead.""")


def ratio_below(ours, theirs):
    """At the highest recall that both reach, where that is less than what was asked for."""
    for recall in LOWER_RECALLS:
        found = ratios(by_round(ours, qps(recall)), by_round(theirs, qps(recall)))
        if found:
            return f"{ratio(found)} at recall {recall}"
    return "-"


def kinds(page, results):
    rows, notes = [], []
    for data in results.data("kinds"):
        systems = results.of("kinds", data)
        ours, theirs, exact = (systems.get(name, []) for name in ("pennon", BASELINE, "pennon-exact"))
        if not ours:
            continue
        cells = []
        for recall in RECALLS:
            values = by_round(ours, qps(recall))
            cells += [number(median(values.values())), ratio(ratios(values, by_round(theirs, qps(recall))))]
        if cells[1] == "-":
            cells[1] = ratio_below(ours, theirs)
        coded, plain = (
            {line["ef"]: line["recall"] for run in runs[-1:] for line in run.all("search_batch")}
            for runs in (ours, exact)
        )
        shared = [ef for ef in coded if ef in plain]
        near = min(shared, key=lambda ef: abs(ef - READER_EF), default=None)
        worst = min(shared, key=lambda ef: coded[ef] - plain[ef], default=None)
        cells.append(f"{coded[near]:.4f} / {plain[near]:.4f} (ef {near})" if shared else "-")
        cells.append(f"{coded[worst] - plain[worst]:+.4f} (ef {worst})" if shared else "-")
        first, run = ours[0].lines[0], ours[0].line("run")
        rows.append([data, *cells, f"{run['rows']:,} × {run['dim']}, {first['metric']}"])
        notes.append(f"{data}: {first['about']}")
    if not rows:
        return
    page.heading(2, "Other kinds of data")
    head = [words for r in RECALLS for words in (f"QPS at {r}", f"over {BASELINE}")]
    head += ["recall with codes / without", "worst difference", "rows, metric"]
    page.table(["", *head], rows, words={7})
    page.text(f"""Queries in one call; {BASELINE} in the space that fits the metric. Without codes: `codes = kNone`, at
        the same parameters and ef. What they are: {"; ".join(notes)}.""")


def million(page, results, folder):
    for data in results.data("million"):
        systems = results.of("million", data)
        some = next(iter(systems.values()))[0]
        count = some.line("run")["rows"]
        page.heading(2, f"{count:,} rows")
        page.text(f"The rows are {some.lines[0]['about']}.")
        page.plot(plots.insert_rate(systems, folder / "million.svg"), "insert rate against rows in the index")
        first = figures.rate_of_first(count // 10)
        rows = []
        for runs in systems.values():
            cells = [
                cell(runs, figure)
                for figure in (rows_per_s, first, lambda run, first=first: over(rows_per_s(run), first(run)))
            ]
            cells += [cell(runs, figures.rate_kept), *(cell(runs, qps(recall)) for recall in RECALLS)]
            rows.append([name_of(runs), *cells])
        head = [
            "rows/s, all rows",
            f"rows/s, the first {count // 10:,}",
            "ratio",
            f"rate at the end over {count // 10:,}",
        ]
        page.table(["", *head, *(f"QPS at {recall}" for recall in RECALLS)], rows)


def filtered_cell(runs, kind, share):
    """The median of the rounds, and which settings it took."""
    qps_of = figures.filtered_qps(kind, share, RECALLS[0])
    values = by_round(runs, qps_of)
    if values:
        settings = [
            setting for run in runs for _, qps, setting in run.filtered(kind, share) if Value(qps) == qps_of(run)
        ]
        return f"{number(median(values.values()))} ({', '.join(dict.fromkeys(settings))})"
    found = [found for run in runs for found, _, _ in run.filtered(kind, share)]
    return f"never: {max(found):.3f}" if found else "-"


def filters(page, results):
    systems = results.of("filters")
    if not systems:
        return
    page.heading(2, "Filtered search")
    peers = [system for system in systems if system != "pennon"]
    rows = []
    for share, kind in masks.groups():
        figure = figures.filtered_qps(kind, share, RECALLS[0])
        ours = by_round(systems.get("pennon", []), figure)
        cells = [filtered_cell(runs, kind, share) for runs in systems.values()]
        cells += [ratio(ratios(ours, by_round(systems[peer], figure))) for peer in peers]
        rows.append([f"{kind}, {share:g}", *cells])
    head = [f"{name_of(runs)}: QPS" for runs in systems.values()]
    page.table(["which rows pass, share", *head, *(f"over {peer}" for peer in peers)], rows)
    run = next(iter(systems.values()))[0].line("run")
    page.text(f"""{run["rows"]:,} rows of {run["dim"]} dimensions. QPS of the fastest setting whose recall@{K} is at
        least {RECALLS[0]}, on one thread, a call a query; missing results count as not found, out of min({K}, rows that
        pass), counted by each program against the same exact neighbours. Peers walk their graph at the ef in brackets
        or scan, whichever is faster; Pennon chooses by itself, and scan says that it did for most queries. Never: the
        most that any setting found. The filter of a call is made beforehand: of Pennon
        `RowFilter::IdBitmap`, of hnswlib a functor that looks at a bitmap, of faiss `IDSelectorBitmap`.
        {"; ".join(f"{kind}: {about}" for kind, about in masks.KINDS.items())}. hnswlib is called from C++; from faiss'
        time a call what the same call takes on an index of ten rows is subtracted, which is Python's part.""")


def method(page, results):
    page.heading(2, "How it was measured")
    for system, scenario, why in sorted(
        {(run.system, run.scenario, run.failure) for run in results.runs if run.failure}
    ):
        page.text(f"{system} is missing in `{scenario}`: {why}")
    sessions = {}
    for run in results.runs:
        first = run.lines[0]
        key = run.scenario, run.session, first["revision"], first["machine"]
        sessions.setdefault(key, []).append((run.round, first["load"]))
    rows = []
    for (scenario, session, revision, machine), runs in sessions.items():
        rounds, load = len({number for number, _ in runs}), statistics.median(load for _, load in runs)
        rows.append([scenario, session, str(rounds), f"{load:.1f}", revision, machine])
    page.table(["scenario", "began", "rounds", "load average", "revision", "machine"], rows, words={1, 4, 5})
    page.text("""Within a round the systems run one after the other, each in a process of its own. Peers are called from
        Python and get float32 vectors in contiguous arrays; Pennon runs as `pennon replay`, which reads the file's own
        type. Recall is counted by the same code for all, against exact neighbours in float64; a row counts that is as
        near as the k-th. Of several passes over the queries the fastest counts, after one that does not; percentiles
        are over all of them. The load average is that after each run.""")


def write(folder):
    results = Results(figures.load(folder / "results.jsonl"))
    first = results.runs[-1].lines[0]
    sweep = Sweep(results.of("sweep"))
    run = next((run.line("run") for run in results.runs if run.scenario == "main" and not run.failure), None)
    shape = f" ({run['rows']:,} rows of {run['dim']} dimensions, {run['metric']})" if run else ""
    page = Page("Pennon and its peers")
    page.text(f"""Pennon, a live HNSW index over Arrow, held against other in-memory vector indices on
        {first["given"]}{shape}, measured on {first["machine"]}; m {M} and ef_construction {EF_CONSTRUCTION} (a degree
        of {2 * M} at level 0) where nothing else is said. Rows: {first["rows_from"]}.
        Queries: {first["queries_from"]}.""")
    headline(page, results, sweep)
    search(page, results, folder)
    insertion(page, results, folder)
    latency(page, results, folder)
    memory(page, results, folder)
    best_parameters(page, sweep, folder)
    kinds(page, results)
    million(page, results, folder)
    filters(page, results)
    method(page, results)
    page.write(folder)
    print(folder / "report.html")
