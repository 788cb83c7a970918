"""A page of headings, words, tables and plots, as HTML and as Markdown, and how figures are written on it."""

import html
import re

from figures import median

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:64em;margin:2.5em auto;padding:0 1.2em}
h1{margin-bottom:.2em} h2{margin-top:2.2em;border-bottom:1px solid #ddd;padding-bottom:.2em}
table{border-collapse:collapse;font-size:14px;margin:1em 0;display:block;overflow-x:auto}
th,td{padding:.35em .8em;text-align:right;vertical-align:top} th{border-bottom:2px solid #999;vertical-align:bottom}
tr:nth-child(even) td{background:#f6f6f6} td:first-child,th:first-child,.text{text-align:left}
.ours td{font-weight:600} figure{margin:1.5em 0} svg{max-width:100%;height:auto}
code{background:#f3f3f3;padding:0 .25em}
"""
HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>{style}</style>\n"
)


class Page:
    """Words may hold `code`."""

    def __init__(self, title):
        self.html, self.markdown = [HEAD.format(title=html.escape(title), style=STYLE)], []
        self.heading(1, title)

    def heading(self, level, words):
        self.html.append(f"<h{level}>{html.escape(words)}</h{level}>")
        self.markdown.append(f"{'#' * level} {words}\n")

    def text(self, words):
        words = " ".join(words.split())
        self.html.append("<p>" + re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(words)) + "</p>")
        self.markdown.append(words + "\n")

    def table(self, head, rows, words=()):
        """words: columns that hold words, besides the first."""

        def line(tag, cells):
            kinds = [' class="text"' if column in words else "" for column in range(len(cells))]
            return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells))

        out = [f"<table><tr>{line('th', head)}</tr>"]
        for row in rows:
            ours = ' class="ours"' if row[0].startswith("pennon ") else ""
            out.append(f"<tr{ours}>{line('td', row)}</tr>")
        self.html.append("\n".join(out) + "</table>")
        lines = [head, ["---"] * len(head), *rows]
        self.markdown.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n")

    def plot(self, svg, name):
        self.html.append(f'<figure role="img" aria-label="{html.escape(name)}">{svg}</figure>')

    def write(self, folder):
        (folder / "report.html").write_text("\n".join(self.html) + "\n</html>\n")
        (folder / "report.md").write_text("\n".join(self.markdown))


def number(value, unit=""):
    if value is None:
        return "-"
    digits = 0 if abs(value.number) >= 100 else 1 if abs(value.number) >= 10 else 2
    bound = {"": "", ">": "≥ ", "<": "≤ ", "~": "≈ "}[value.bound]
    return f"{bound}{value.number:,.{digits}f}{unit}"


def ratio(values):
    """Median of the rounds' ratios, and their range."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    numbers = [value.number for value in values]
    spread = f" ({min(numbers):.2f} to {max(numbers):.2f})" if len(numbers) > 1 else ""
    return number(median(values), " ×") + spread
