"""Recompute every statistic of `configs/results` from the runs that stand there, with scipy and statsmodels.

    python3 tests/statistics.py FOLDER...

Says how many numbers of each table it held against its own, and exits with 1 where one differs.

It shares no code with what made the tables: `coldstart report`, `configs/regret.py` and `configs/paired.py`.
"""

import csv
import math
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

#: Reports have 12 digits; the scripts' tables have four decimals, in points.
DIGITS, DECIMALS = 1e-9, 6e-5
#: Differences below it are 0 but for rounding, as reports have it.
ROUNDING = 1e-12


def rows(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


class Table:
    """A table whose numbers are held against others."""

    def __init__(self, file, tolerance):
        self.file, self.tolerance, self.held, self.wrong = file, tolerance, 0, []

    def hold(self, row, column, expected):
        self.held += 1
        found = float(row[column])
        if not math.isclose(found, expected, rel_tol=self.tolerance, abs_tol=self.tolerance):
            self.wrong.append(f"{self.file}: `{column}` is {found}, not {expected}: {row}")

    def told(self):
        print(f"{self.file}: {self.held} numbers, {len(self.wrong)} differ")
        for line in self.wrong[:5]:
            print(line, file=sys.stderr)
        return not self.wrong


def half_width(values):
    """Half of the 95 % interval of a mean; 0 where all values are the same."""
    if np.ptp(values) == 0:
        return 0.0
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return (interval.high - interval.low) / 2


def paired_p(first, second):
    if all(abs(a - b) <= ROUNDING for a, b in zip(first, second)):
        return 1.0
    return float(stats.ttest_rel(first, second).pvalue)


def final_accuracies(folder):
    """(facet, arm) -> seed -> the accuracy at the end."""
    found = defaultdict(dict)
    for row in rows(folder / "runs.csv"):
        found[row.get("facet", ""), row["arm"]][row["seed"]] = float(row["accuracy at the end"])
    return found


def pairs(first, second):
    seeds = [seed for seed in first if seed in second]
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def hold_holm(table, families):
    for family in families.values():
        corrected = multipletests([p for _, p in family], method="holm")[1]
        for (row, _), p in zip(family, corrected):
            table.hold(row, "p, Holm", p)


def check_ranking(folder):
    table = Table(folder / "ranking.csv", DIGITS)
    found = final_accuracies(folder)
    for row in rows(table.file):
        values = list(found[row["facet"], row["arm"]].values())
        table.hold(row, "accuracy", np.mean(values))
        table.hold(row, "accuracy, half width", half_width(values))
    return table


def check_differences(folder):
    table = Table(folder / "differences.csv", DECIMALS)
    of = defaultdict(dict)
    sets = defaultdict(set)
    for row in rows(folder / "accuracies.csv"):
        sets[row["group"]].add(row["data set"])
        for column, value in row.items():
            if column.startswith("accuracy at ") and value:
                images = column.split()[2]
                of[row["group"], row["data set"], row["arm"], images][row["seed"]] = 100 * float(value)
    told = rows(table.file)
    baseline = {(row["group"], row["data set"], row["images a class"]): row["arm"] for row in told if not row["p"]}
    families = defaultdict(list)
    for row in told:
        group, images = row["group"], row["images a class"]
        named = sets[group] if row["data set"] == "all" else [row["data set"]]
        arm = mean_over(of, group, named, row["arm"], images)
        table.hold(row, "accuracy", np.mean(list(arm.values())))
        table.hold(row, "±", half_width(list(arm.values())))
        if not row["p"]:
            continue
        first, second = pairs(arm, mean_over(of, group, named, baseline[group, row["data set"], images], images))
        table.hold(row, "above the baseline", np.mean(np.subtract(first, second)))
        table.hold(row, "above ±", half_width(np.subtract(first, second)))
        p = paired_p(first, second)
        table.hold(row, "p", p)
        families[group, row["data set"]].append((row, p))
    hold_holm(table, families)
    return table


def mean_over(of, group, named, arm, images):
    """Seed -> the mean over data sets, for the seeds that all of them have."""
    each = [of[group, name, arm, images] for name in sorted(named)]
    shared = [seed for seed in each[0] if all(seed in one for one in each)]
    return {seed: float(np.mean([one[seed] for one in each])) for seed in shared}


class Sizes:
    """What `accuracies.csv` and `advice.csv` of a study of sizes say of one data set."""

    def __init__(self, folder, name):
        self.accuracy, self.advice = {}, {}
        for row in rows(folder / "accuracies.csv"):
            if row["data set"] == name:
                for column, value in row.items():
                    if column.startswith("accuracy at ") and value:
                        total = float(column.split()[2])
                        self.accuracy[row["arm"], float(row["size a class"]), int(row["seed"]), total] = 100 * float(value)
        self.sizes = sorted({size for _, size, _, _ in self.accuracy})
        self.seeds = sorted({seed for _, _, seed, _ in self.accuracy})
        # The run that began with the fewest images counts.
        for row in sorted(rows(folder / "advice.csv"), key=lambda row: -float(row["size a class"])):
            if row["data set"] == name:
                self.advice[row["sizer"], row["told of"], int(row["seed"])] = float(row["says, a class"])

    def said(self, name, query, seed):
        if name.startswith("always "):
            return float(name.split()[1])
        told_of = self.advice.get((name, query, seed))
        return self.advice[name, "", seed] if told_of is None else told_of

    def random(self, seed, total):
        there = [self.accuracy.get(("random", size, seed, total)) for size in self.sizes]
        return float(np.mean([value for value in there if value is not None]))

    def of_size(self, query, seed, total, size):
        """The accuracy after so many images a class: that of random images alone from the total on; linear in the logarithm between."""
        known = [(s, self.accuracy[query, s, seed, total]) for s in self.sizes if s < total] + [(total, self.random(seed, total))]
        if size <= known[0][0]:
            return known[0][1]
        for (low, at_low), (high, at_high) in zip(known, known[1:]):
            if size <= high:
                share = (math.log(size) - math.log(low)) / (math.log(high) - math.log(low))
                return at_low + share * (at_high - at_low)
        return known[-1][1]

    def regret(self, query, seed, total, size):
        candidates = [s for s in self.sizes if s < total] + [total]
        others = [other for other in self.seeds if other != seed]
        means = [np.mean([self.of_size(query, other, total, s) for other in others]) for s in candidates]
        best = candidates[int(np.argmax(means))]
        return self.of_size(query, seed, total, best) - self.of_size(query, seed, total, size)


def check_regrets(folder):
    table = Table(folder / "regrets.csv", DECIMALS)
    worlds = [Sizes(folder, name) for name in dict.fromkeys(row["data set"] for row in rows(folder / "accuracies.csv"))]
    seeds = sorted(set.intersection(*(set(world.seeds) for world in worlds)))
    every_total = sorted({total for world in worlds for _, _, _, total in world.accuracy})

    told = rows(table.file)
    every_query = sorted({row["query"] for row in told} - {"all"})

    def per_seed(row, sizer, quantity):
        totals = every_total if row["total a class"] == "all" else [float(row["total a class"])]
        queries = every_query if row["query"] == "all" else [row["query"]]
        of_seed = lambda seed: [
            quantity(world)(query, seed, total, world.said(sizer, query, seed)) for query in queries for world in worlds for total in totals
        ]
        return np.array([np.mean(of_seed(seed)) for seed in seeds])

    for row in told:
        accuracies = per_seed(row, row["sizer"], lambda world: world.of_size)
        table.hold(row, "accuracy", accuracies.mean())
        cost = per_seed(row, row["sizer"], lambda world: world.regret)
        table.hold(row, "regret", cost.mean())
        table.hold(row, "regret ±", half_width(cost))
        gain = accuracies - per_seed(row, row["best fixed size"], lambda world: world.of_size)
        table.hold(row, "above the best fixed size", gain.mean())
        table.hold(row, "above ±", half_width(gain))
    return table


CHECKS = {
    "ranking.csv": check_ranking,
    "differences.csv": check_differences,
    "regrets.csv": check_regrets,
}


def main(folders):
    # A mean of equal numbers has no t; what is expected of it is said above.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    checked = [check(Path(folder)) for folder in folders for name, check in CHECKS.items() if (Path(folder) / name).exists()]
    told = [table.told() for table in checked]
    if not told:
        sys.exit("there is no table to hold anything against")
    sys.exit(0 if all(told) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
