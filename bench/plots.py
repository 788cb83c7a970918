"""The plots, as SVG."""

import io
import statistics

import matplotlib
import numpy

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullFormatter

pyplot.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
)

COLOURS = {
    "pennon": "#c1121f",
    "pennon-exact": "#e88d8d",
    "hnswlib": "#1d3557",
    "faiss": "#2a9d8f",
    "faiss-fp16": "#1b6f65",
    "faiss-sq8": "#8ac6bf",
    "usearch": "#e9a23b",
    "usearch-bf16": "#b5781b",
    "usearch-i8": "#f2cc8f",
    "svs": "#6a4c93",
    "svs-lvq": "#a48cc4",
    "vsag": "#7f7f7f",
}


def _style(system):
    return {
        "color": COLOURS.get(system, "black"),
        "linewidth": 2.8 if system == "pennon" else 1.4,
        "marker": "o",
        "markersize": 4 if system == "pennon" else 3,
        "zorder": 3 if system == "pennon" else 2,
    }


def _legend(axes):
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))


def _save(figure, path):
    image = io.StringIO()
    figure.savefig(image, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    text = image.getvalue()
    path.write_text(text)
    return text[text.index("<svg") :]


def _thousands(axis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _medians(series):
    """[(x, y)] a run -> [(median x, median y)] by position."""
    return [middle(points) for points in zip(*series)]


def middle(points):
    return tuple(statistics.median(point[axis] for point in points) for axis in (0, 1))


def recall_qps(systems, title, path):
    """systems: {name: runs}."""
    nines = (lambda recall: -numpy.log10(numpy.maximum(1 - recall, 1e-9)), lambda value: 1 - 10.0**-value)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for system, runs in systems.items():
        call = "search_batch" if runs[0].curve("search_batch") else "search"
        points = [point for point in _medians([run.curve(call) for run in runs]) if 0.7 <= point[0] < 0.9995]
        label = system if call == "search_batch" else f"{system} (a call a query,\nless its overhead)"
        axes.plot(*zip(*points) if points else ([], []), label=label, **_style(system))
    axes.set_xscale("function", functions=nines)
    axes.set_yscale("log")
    ticks = [0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(0.7, 0.9992), xlabel="recall@10", ylabel="queries a second, one thread")
    axes.set_title(title, loc="left", fontsize=11)
    _thousands(axes.yaxis)
    _legend(axes)
    return _save(figure, path)


def _over_rows(axes, ylabel):
    axes.set(xlabel="rows in the index", ylabel=ylabel, ylim=(0, None), xlim=(0, None))
    _thousands(axes.xaxis)
    _thousands(axes.yaxis)
    _legend(axes)


def insert_rate(systems, path):
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for system, runs in systems.items():
        series = [run.rates() for run in runs if run.rates()]
        if series:
            axes.plot(*zip(*_medians(series)), label=system, **_style(system))
    _over_rows(axes, "rows a second")
    return _save(figure, path)


def ingest_latency(runs, path):
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, colour in (("p50", "#1d3557"), ("p99", "#c1121f")):
        series = [
            [(chunk["rows"], chunk[f"{name}_us"]) for chunk in run.all("chunk") if chunk["searches"]] for run in runs
        ]
        points = _medians([points for points in series if points])
        axes.plot(*zip(*points), color=colour, marker="o", markersize=3, label=f"{name} while rows arrive")
        idle = statistics.median(run.line("concurrent")[f"idle_{name}_us"] for run in runs)
        axes.plot([points[-1][0]], [idle], color=colour, marker="D", linestyle="", label=f"{name} idle, all rows in")
    _over_rows(axes, "microseconds a search")
    return _save(figure, path)


def memory(bars, path):
    """bars: {system: (resident bytes a row beyond the vectors, reported ones or None)}."""
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(bars) + 1.2))
    names = list(bars)[::-1]
    sizes = [bars[name][0] for name in names]
    longest = max(sizes)
    if len(sizes) > 1 and longest > 3 * sorted(sizes)[-2]:  # cut, its figure stands beside it
        longest = 1.5 * sorted(sizes)[-2]
    drawn = axes.barh(
        names,
        [min(size, longest) for size in sizes],
        color=[COLOURS.get(name, "black") for name in names],
        height=0.6,
        label="growth of the resident set",
    )
    axes.bar_label(drawn, [f"{size:,.0f}" for size in sizes], padding=4, fontsize=9)
    reported = [(bars[name][1], name) for name in names if bars[name][1] is not None and bars[name][1] <= longest]
    axes.plot(
        *zip(*reported), color="black", marker="|", markersize=14, markeredgewidth=2, linestyle="", label="reported"
    )
    axes.set(xlabel="bytes a row beyond the vectors", xlim=(0, 1.12 * longest))
    axes.grid(axis="y", visible=False)
    _thousands(axes.xaxis)
    _legend(axes)
    return _save(figure, path)


def sweep(systems, budget, recall, path):
    """systems: {name: [(insert seconds, QPS)]}, a point for each choice of parameters."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for system, points in systems.items():
        points = [point for point in points if point[0] < 2 * budget]
        if points:
            axes.plot(*zip(*points), label=system, **{**_style(system), "linestyle": ""})
    axes.axvline(budget, color="black", linestyle="--", linewidth=1)
    axes.set(
        xlabel="seconds to insert all rows",
        ylabel=f"queries a second at recall {recall}",
        ylim=(0, None),
        xlim=(0, 2 * budget),
    )
    _thousands(axes.yaxis)
    _legend(axes)
    return _save(figure, path)
