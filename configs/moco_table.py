"""What each change from MoCo v1 to MoCo v2 is worth: trains every row, judges it, writes the table and a chart.

    python3 configs/moco_table.py --out FOLDER [--seeds SEED...] [--coldstart PROGRAM] [--set KEY=VALUE...]
    python3 configs/moco_table.py --out FOLDER --tables

Needs numpy and scipy. A row that is done stands in FOLDER/accuracies.csv and is not trained again; a training that was ended goes on from its
last checkpoint in the program's cache. `--tables` trains nothing and writes what follows from that file.
"""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studies import interval, number, put, rows, write

CONFIG = Path(__file__).parent / "moco-table.toml"


@dataclass
class Row:
    """A row: what it is called, what it sets, and the linear accuracy that was published for ImageNet, if any."""

    name: str
    parts: dict
    published: float | None


V1 = {"method": "moco-v1", "head": "linear", "augmentation": "moco-v1", "schedule": "step"}
SIMCLR = {"method": "simclr", "augmentation": "moco-v2"}

#: Chen et al. 2020, table 1 (200 epochs) and table 2 (200 epochs; SimCLR's with batches of 256 and 8192).
ROWS = [
    Row("MoCo v1", V1, 60.6),
    Row("+ MLP", {**V1, "head": "mlp"}, 62.9),
    Row("+ aug+", {**V1, "augmentation": "moco-v2"}, 63.4),
    Row("+ MLP, aug+", {**V1, "head": "mlp", "augmentation": "moco-v2"}, 67.3),
    Row("MoCo v2: + MLP, aug+, cosine", {**V1, "head": "mlp", "augmentation": "moco-v2", "schedule": "cosine"}, 67.5),
    Row("SimCLR, batch 128", {**SIMCLR, "batch_size": "128"}, 61.9),
    Row("SimCLR, batch 512", {**SIMCLR, "batch_size": "512"}, 66.6),
]
COLUMNS = ["row", "seed", "knn", "linear"]


def judged(args, row, seed):
    """The accuracies of a row: by nearest neighbours and of a linear classifier."""
    settings = {f"representation.{key}": value for key, value in row.parts.items()}
    settings["seed"] = str(seed)
    command = [args.coldstart, "represent", str(CONFIG), "--json"]
    for setting in [*(f"{key}={value}" for key, value in settings.items()), *args.set]:
        command += ["-s", setting]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    trained = next(one for one in json.loads(answer) if one["model"])
    return trained["knn"], trained["linear"]


def train(args, file):
    for seed in args.seeds:
        for row in ROWS:
            if not is_done(file, row, seed):
                knn, linear = judged(args, row, seed)
                put(file, COLUMNS, [[row.name, seed, f"{knn:.6f}", f"{linear:.6f}"]], n_key=2, keep_others=True)


def is_done(file, row, seed):
    return file.exists() and any(one["row"] == row.name and one["seed"] == str(seed) for one in rows(file))


def table_of(found):
    """A line for each row that has two seeds: means in percent with their 95 % intervals, and the published accuracy."""
    table = []
    for row in ROWS:
        of_row = [one for one in found if one["row"] == row.name]
        if len(of_row) > 1:
            knn = interval([100 * float(one["knn"]) for one in of_row])
            linear = interval([100 * float(one["linear"]) for one in of_row])
            table.append([row.name, len(of_row), *map(number, [*knn, *linear]), row.published])
    return ["row", "seeds", "knn", "knn ±", "linear", "linear ±", "published, ImageNet"], table


#: Of the chart: pixels of a bar, of the names' column, of the bars' column.
BAR, NAMES, BARS = 22, 220, 320


def chart(table):
    """An SVG: for each row the linear accuracy here and the published one, each from the lowest of its kind up."""
    height = 50 + BAR * len(table)
    width = NAMES + 2 * (BARS + 60)
    here = [float(line[4]) for line in table]
    published = [line[6] for line in table]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{NAMES}" y="16" font-weight="bold">here: CIFAR-10 JPEG copy, a small network, linear accuracy</text>',
        f'<text x="{NAMES + BARS + 60}" y="16" font-weight="bold">published: ImageNet, ResNet-50</text>',
    ]
    for i, line in enumerate(table):
        y = 30 + BAR * i
        parts.append(f'<text x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{line[0]}</text>')
        parts += bar(NAMES, y, float(line[4]), here, "#0072b2", f"{line[4][:-3]} ± {line[5][:-3]}")
        parts += bar(NAMES + BARS + 60, y, line[6], published, "#888888", f"{line[6]}")
    return "\n".join([*parts, "</svg>", ""])


def bar(left, y, value, values, colour, text):
    low, high = np.floor(min(values) - 2), max(values)
    length = 0.75 * BARS * (value - low) / (high - low)
    return [
        f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{BAR - 6}" fill="{colour}"/>',
        f'<text x="{left + length + 6:.1f}" y="{y + 13}">{text}</text>',
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--coldstart", default="coldstart", metavar="PROGRAM")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "accuracies.csv"
    if not args.tables:
        train(args, file)
    header, table = table_of(rows(file))
    write(args.out / "table.csv", header, table)
    if table:
        (args.out / "table.svg").write_text(chart(table))


if __name__ == "__main__":
    main()
