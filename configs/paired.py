"""What each arm of some studies is above a baseline, paired by seed, with so many images a class: tables and a chart.

    python3 configs/paired.py [NAME=]STUDY... --baseline ARM --at IMAGES... --out FOLDER [--arm COLUMN...] [--across COLUMN...] [--add]
    python3 configs/paired.py --baseline ARM --at IMAGES... --out FOLDER

Needs numpy, scipy and statsmodels. The first form reads studies and writes what they found to FOLDER: `accuracies.csv`. Both forms
then write the table and the chart that follow from it. With `--add` the runs that FOLDER has already stay, so that a study can be done
in parts, on several machines or days, seed by seed.

* An arm is the value of the columns `--arm` of a study's plan, joined by commas; every other column but those of `--across` sets
  groups apart, which are compared within themselves. Where the runs of a study end with the initial set, `initial.size` goes across.
* A difference is that of two runs with the same seed; means and 95 % intervals (Student's t) are over seeds.
* `all` in place of a data set: a seed's number is the mean over the data sets.
* p is that of the paired t-test, corrected by Holm over the arms and numbers of images of a group and a data set.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from intervals import BLUE, GREY, Interval, chart
from studies import finished, interval, number, put, rows, write

ALL = "all"
KEY = ["group", "data set", "arm", "seed"]
#: Columns of a plan that set no groups apart; `round0` names the initial set that runs share.
OTHER = {"run", "round0", "seed", "dataset"}


def column(images):
    return f"accuracy at {images:g} a class"


def keep(studies, arm_columns, across, at, folder, keep_others):
    """Put the runs of some studies into `accuracies.csv`, in the order of their plans."""
    table = []
    aside = OTHER.union(arm_columns, across)
    for run in finished(studies):
        arm = ", ".join(run.plan[name] for name in arm_columns if run.plan.get(name))
        group = ", ".join(value for name, value in run.plan.items() if name not in aside)
        reached = run.accuracies()
        table.append([group, run.set, arm, run.plan["seed"], *(reached.get(images, "") for images in at)])
    put(folder / "accuracies.csv", [*KEY, *map(column, at)], table, len(KEY), keep_others)


def read(folder, at):
    """(group, data set, arm, images a class) -> seed -> accuracy in percent."""
    found = defaultdict(dict)
    for row in rows(folder / "accuracies.csv"):
        for images in at:
            if row[column(images)]:
                key = row["group"], row["data set"], row["arm"], images
                found[key][int(row["seed"])] = 100 * float(row[column(images)])
    return found


def with_all(found):
    """The same, and for each group, arm and number of images the mean over the data sets of a seed."""
    of_all = defaultdict(lambda: defaultdict(list))
    sets = defaultdict(set)
    for (group, set_name, arm, images), of_seed in found.items():
        sets[group].add(set_name)
        for seed, accuracy in of_seed.items():
            of_all[group, ALL, arm, images][seed].append(accuracy)
    means = dict(found)
    for key, of_seed in of_all.items():
        complete = {seed: float(np.mean(values)) for seed, values in of_seed.items() if len(values) == len(sets[key[0]])}
        if complete and len(sets[key[0]]) > 1:
            means[key] = complete
    return means


class Comparison:
    """An arm beside the baseline, with so many images a class."""

    def __init__(self, arm, images, of_arm, of_baseline):
        self.arm, self.images = arm, images
        self.accuracies = list(of_arm.values())
        self.differences = [of_arm[seed] - of_baseline[seed] for seed in of_arm if seed in of_baseline]
        self.p = 1.0
        if any(self.differences):
            self.p = float(stats.ttest_1samp(self.differences, 0.0).pvalue)


def comparisons(means, group, set_name, baseline):
    of = {key[2:]: value for key, value in means.items() if key[:2] == (group, set_name)}
    return [Comparison(arm, images, of_seed, of[baseline, images]) for (arm, images), of_seed in of.items() if (baseline, images) in of]


def differences(means, baseline):
    table = []
    for group, set_name in dict.fromkeys(key[:2] for key in means):
        compared = comparisons(means, group, set_name, baseline)
        others = [one for one in compared if one.arm != baseline]
        corrected = multipletests([one.p for one in others], method="holm")[1] if others else []
        holm = {(one.arm, one.images): p for one, p in zip(others, corrected)}
        for one in compared:
            cells = [*interval(one.accuracies)]
            tested = [*interval(one.differences), one.p, holm[one.arm, one.images]] if one.arm != baseline else []
            table.append([group, set_name, one.arm, f"{one.images:g}", len(one.accuracies), *map(number, cells + tested)])
            table[-1] += [""] * (11 - len(table[-1]))
    header = ["group", "data set", "arm", "images a class", "seeds", "accuracy", "±", "above the baseline", "above ±", "p", "p, Holm"]
    return header, table


def chart_of(table, baseline):
    """A block for each group, in it a panel for each number of images, a row for each arm; over all data sets."""
    names = {row[1] for row in table}
    shown = [row for row in table if row[1] == (ALL if ALL in names else row[1]) and row[2] != baseline]
    blocks = defaultdict(list)
    for group, _, arm, images, *_, mean, half, _, _ in shown:
        mean, half = float(mean), float(half)
        blocks[group].append(Interval(f"{images} a class", arm, mean, half, BLUE if abs(mean) > half else GREY))
    every = [one for intervals in blocks.values() for one in intervals]
    reach = min(0.0, min(one.mean - one.half for one in every)), max(0.0, max(one.mean + one.half for one in every))
    return chart(blocks, reach, f"points above {baseline} ± 95 %; blue: the interval does not hold 0")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="[NAME=]STUDY")
    parser.add_argument("--arm", nargs="+", default=["arm"], metavar="COLUMN")
    parser.add_argument("--across", nargs="+", default=[], metavar="COLUMN")
    parser.add_argument("--baseline", required=True, metavar="ARM")
    parser.add_argument("--at", nargs="+", required=True, type=float, metavar="IMAGES")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--add", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.studies:
        keep(args.studies, args.arm, args.across, args.at, args.out, args.add)
    means = with_all(read(args.out, args.at))
    header, table = differences(means, args.baseline)
    write(args.out / "differences.csv", header, table)
    (args.out / "differences.svg").write_text(chart_of(table, args.baseline))


if __name__ == "__main__":
    main()
