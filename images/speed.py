#!/usr/bin/env python3
"""Draws speed.svg from speed.csv: medians in nanoseconds a call, one thread, by `ci/bench.sh`.

Needs matplotlib: pip install matplotlib && images/speed.py
"""

import csv
import io
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).resolve().parent
COLOURS = ["#2f7ed8", "#e07b39", "#8a9a5b", "#9a7bb0"]
INK, PAPER = "#59636e", "#ffffff"
# In a dark colour scheme. Matplotlib writes colours into `style` attributes, which only `!important` overrides.
DARK = """
@media (prefers-color-scheme: dark) {
 [style*="fill: #59636e"] { fill: #9da7b3 !important }
 [style*="stroke: #59636e"] { stroke: #9da7b3 !important }
 [style*="fill: #ffffff"] { fill: #0d1117 !important }
}
"""


def draw(axes, cases, names):
    axes.set_facecolor("none")
    height = 0.8 / len(names)
    for place, (name, colour) in enumerate(zip(names, COLOURS)):
        for row, case in enumerate(cases):
            if not case[name]:
                continue
            value, y = float(case[name]), row + (place - (len(names) - 1) / 2) * height
            axes.barh(y, value, height * 0.9, color=colour, label=name if row == 0 else None)
            axes.text(value, y, f" {value:.3g}", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(cases)), [case["case"] for case in cases])
    axes.invert_yaxis()
    axes.tick_params(colors=INK)
    axes.set_xlabel("ns a call, one thread (less is better)", color=INK)
    axes.margins(x=0.12)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def main():
    with open(HERE / "speed.csv", newline="") as file:
        cases = list(csv.DictReader(file))
    names = [name for name in cases[0] if name != "case"]
    plt.rcParams["svg.hashsalt"] = "speed"
    figure, (direct, keyed) = plt.subplots(1, 2, figsize=(10, 4))
    draw(direct, [case for case in cases if "keys" not in case["case"]], names)
    draw(keyed, [case for case in cases if "keys" in case["case"]], names[:2])
    direct.set_title("one limiter", color=INK)
    keyed.set_title("a limiter for each key", color=INK)
    labels = direct.get_legend_handles_labels()
    figure.legend(*labels, ncols=4, frameon=False, labelcolor=INK, fontsize=9, loc="lower center")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    drawn = io.StringIO()
    # A background of its own, so that it stays legible where the page and the colour scheme disagree.
    figure.savefig(drawn, facecolor=PAPER, metadata={"Date": None})
    svg = drawn.getvalue().replace("</style>", DARK + "</style>", 1)
    (HERE / "speed.svg").write_text(svg)


if __name__ == "__main__":
    main()
