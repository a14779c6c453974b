"""Figures to a Markdown table: medians, and ratios to the first peer that has the figure."""

import json
import os
import platform
import statistics
import time

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


class Figures:
    def __init__(self):
        # (what, unit) -> peer -> values, both in the order they came
        self.rows = {}

    def record(self, what, unit, peer, value):
        self.rows.setdefault((what, unit), {}).setdefault(peer, []).append(value)

    def table(self, machine):
        lines = [f"Measured {time.strftime('%Y-%m-%d')} on {machine}.", "",
                 "| what | by | median | spread | ours ÷ theirs |", "|---|---|---|---|---|"]
        for (what, unit), peers in self.rows.items():
            ours = statistics.median(peers["pointsman"]) if "pointsman" in peers else None
            for peer, values in peers.items():
                median = statistics.median(values)
                ratio = "" if ours is None or peer == "pointsman" or not median else f"{ours / median:.2f}"
                lines.append(f"| {what} | {peer} | {_number(median)} {unit} | {_spread(values)} | {ratio} |")
        return "\n".join(lines + _growth(self.rows)) + "\n"

    def write(self, file, table):
        """Puts the table between its marks in a file; makes the file where there is none."""
        text = f"# Performance\n\n{BEGIN}\n{END}\n"
        if os.path.exists(file):
            with open(file) as f:
                text = f.read()
        if BEGIN not in text or END not in text:
            text += f"\n{BEGIN}\n{END}\n"
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        with open(file, "w") as f:
            f.write(f"{head}{BEGIN}\n{table}{END}{tail}")

    def save(self, file, machine):
        rows = [{"what": what, "unit": unit, "peer": peer, "values": values}
                for (what, unit), peers in self.rows.items() for peer, values in peers.items()]
        with open(file, "w") as f:
            json.dump({"machine": machine, "rows": rows}, f, indent=1)


def machine(versions):
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}; {'; '.join(versions)}"


def _growth(rows):
    """For what was measured with few and many services: many ÷ few, for each peer."""
    lines = []
    for (what, unit), peers in rows.items():
        if not what.endswith(", 10 services"):
            continue
        stem = what[:-len(", 10 services")]
        others = [(w, p) for (w, _), p in rows.items() if w.startswith(stem + ",") and w != what]
        for other, theirs in others[-1:]:
            for peer, values in peers.items():
                few = statistics.median(values)
                if peer in theirs and few:
                    ratio = statistics.median(theirs[peer]) / few
                    lines.append(f"| {stem}: {other[len(stem) + 2:]} ÷ 10 | {peer} | {ratio:.2f} | | |")
    return lines


def _spread(values):
    if len(values) < 2:
        return ""
    ordered = sorted(values)
    if len(values) >= 20:
        return f"p99 {_number(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])}"
    return f"{_number(ordered[0])} to {_number(ordered[-1])}"


def _number(value):
    if value == int(value) and abs(value) < 1e6 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
