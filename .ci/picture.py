"""Draws the dashboard as Grafana would place it, from what Prometheus answers: for people to look at, without Grafana.

Each panel has its place, title, unit and legends from the dashboard, and its queries' answers over a time. Lines across
it are where a fault must show at the latest. Points are exemplars.
"""

import html
import subprocess
import tempfile
from pathlib import Path

from expect import PATIENCE
from prometheus import DASHBOARD, SCRAPE, expressions, named

# Pixels: a column of the grid, a row of it, and what is between two panels.
COLUMN, ROW, GAP, WIDTH = 60, 30, 8, 24 * 60
COLOURS = "#73bf69 #f2cc0c #8ab8ff #ff780a #f2495c #5794f2 #b877d9 #705da0 #37872d #fade2a".split()
STYLE = """
    body { margin: 0; background: #111217; color: #ccccdc; font: 12px "DejaVu Sans", sans-serif; position: relative }
    .panel { position: absolute; background: #181b1f; border: 1px solid #2a2c33; box-sizing: border-box }
    .panel { padding: 6px 8px }
    .row { position: absolute; font-size: 15px; padding-top: 8px } h2 { font-size: 12px; margin: 0 }
    .stat { font-size: 30px; text-align: center; padding-top: 18px } p { margin: 10px; color: #9fa0ab }
    ul { margin: 2px 0 0; padding: 0; overflow: hidden; position: absolute; left: 8px; right: 8px; bottom: 4px }
    li { display: inline-block; margin-right: 10px; white-space: nowrap; font-size: 10px }
    li b { display: inline-block; width: 12px; height: 3px; margin-right: 4px; vertical-align: middle }
    path { shape-rendering: crispEdges } text { fill: #9fa0ab; font-size: 9px }
    .empty { text-align: center; padding-top: 70px; color: #9fa0ab }
"""
SCALES = {
    "s": [(1e-6, "µs"), (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"), (86400, "d")],
    "bytes": [(1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")],
    "percentunit": [(0.01, "%")],
    "reqps": [(1, "req/s"), (1000, "K req/s")],
    "short": [(1, ""), (1000, "K"), (1e6, "M"), (1e9, "G")],
}


def with_unit(value, unit):
    size, name = max((it for it in SCALES[unit] if it[0] <= abs(value)), default=SCALES[unit][0])
    if value == 0 and unit == "s":
        name = "s"
    return f"{value / size:.3g} {name}".strip()


class Picture:
    def __init__(self, server, times):
        self.server, self.times = server, times
        starts = list(times.values())
        self.start, self.end = starts[0][0] - 3, starts[-1][1]

    def lines(self, panel):
        """Yields the name of each series of a panel, and its values with their times."""
        for query, legend in expressions(panel):
            for labels, points in self.server.points(query, self.start, self.end):
                if points:
                    yield named(legend, labels), points

    def stat(self, panel, unit):
        [(query, _)] = expressions(panel)
        found = self.server.ask("query", query=query, time=self.end)
        return with_unit(float(found[0]["value"][1]), unit) if found else panel["fieldConfig"]["defaults"]["noValue"]

    def graph(self, panel, unit, width, height):
        lines = list(self.lines(panel))
        if not lines:
            return f'<div class="empty">{panel["fieldConfig"]["defaults"]["noValue"]}</div>'
        dots = [(float(it["timestamp"]), float(it["value"]))
                for it in self.server.exemplars(panel["title"], self.start, self.end)]
        top = 1.1 * max([value for _, points in lines for _, value in points] + [value for _, value in dots]) or 1
        left, bottom = 52, height - 14
        x = lambda time: left + (time - self.start) / (self.end - self.start) * (width - left)
        y = lambda value: bottom - max(value, 0) / top * (bottom - 6)
        parts = [f'<svg width="{width}" height="{height}">']
        for value in (0, top / 2, top):
            parts.append(f'<path d="M{left} {y(value):.1f}H{width}" stroke="#2a2c33"/><text x="{left - 4}" '
                         f'y="{y(value) + 3:.1f}" text-anchor="end">{with_unit(value, unit)}</text>')
        for number, (start, _) in enumerate(self.times.values()):
            if number:
                parts.append(f'<path d="M{x(start):.1f} 0V{bottom}" stroke="#3d3f47" stroke-dasharray="2"/>'
                             f'<text x="{x(start) + 2:.1f}" y="{height - 3}">{number}</text>')
        for number, (_, points) in enumerate(lines):
            path, last = "", 0
            for time, value in points:
                path += f"{'L' if path and time - last < 1.5 * SCRAPE else 'M'}{x(time):.1f} {y(value):.1f}"
                last = time
            colour = COLOURS[number % len(COLOURS)]
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        parts += [f'<circle cx="{x(time):.1f}" cy="{y(value):.1f}" r="2.5" fill="#fff"/>' for time, value in dots]
        items = (f'<li><b style="background:{COLOURS[number % len(COLOURS)]}"></b>{html.escape(name)}</li>'
                 for number, (name, _) in enumerate(lines))
        return "".join([*parts, "</svg><ul>", *items, "</ul>"])

    def panel(self, panel):
        grid = panel["gridPos"]
        width, height = grid["w"] * COLUMN - GAP, grid["h"] * (ROW + GAP) - GAP
        place = f"left:{grid['x'] * COLUMN + GAP / 2}px;top:{grid['y'] * (ROW + GAP) + 40}px;"
        place += f"width:{width}px;height:{height}px"
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            return f'<div class="row" style="{place}">{title}</div>'
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "stat":
            content = f'<div class="stat">{self.stat(panel, unit)}</div>'
        else:
            content = self.graph(panel, unit, width - 18, height - 72)
        return f'<div class="panel" style="{place}"><h2>{title}</h2>{content}</div>'

    def page(self):
        faults = ", ".join(f"{number} {title}" for number, title in enumerate(self.times) if number)
        panels = "".join(map(self.panel, DASHBOARD["panels"]))
        return f'<meta charset="utf-8"><style>{STYLE}</style><p>Faults: {faults}</p>{panels}'


def draw(server, times, file):
    """Draws what the dashboard showed of the faults, each of which has its times, into a PNG."""
    height = 40 + (ROW + GAP) * max(it["gridPos"]["y"] + it["gridPos"]["h"] for it in DASHBOARD["panels"])
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "dashboard.html"
        page.write_text(Picture(server, times).page())
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        flags += [f"--window-size={WIDTH},{height}", f"--screenshot={Path(file).absolute()}"]
        subprocess.run(["chromium", *flags, page.as_uri()], check=True, capture_output=True, timeout=PATIENCE)
    print(f"drawn: {file}", flush=True)
