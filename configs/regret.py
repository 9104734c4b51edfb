"""What each sizer and each fixed size costs, over the data sets of several studies: tables and a chart.

    python3 configs/regret.py [NAME=]STUDY... --out FOLDER [--totals IMAGES...] [--add]
    python3 configs/regret.py --out FOLDER [--totals IMAGES...]

Needs numpy and scipy. A study of one data set may be given the name that it is to have in the tables. Each crosses `initial.size`
with arms, one of which is called `random` and is asked for advice, and with seeds; sizes are written by class, so that sets of 10
and of 20 classes are told together.

The first form reads studies and writes what they found to FOLDER: `accuracies.csv` and `advice.csv`. Both forms then write the
tables and the chart that follow from these two files. With `--add` the runs that FOLDER has already stay, so that a study can be
done in parts, on several machines or days, seed by seed. Totals are images a class at which accuracies are read off a run.

For a query strategy, a total, a data set and a seed:

* the accuracy of a size below the total is that of its run, between two sizes by interpolation over the logarithm;
* that of a size from the total on is that of random images alone: the mean over the seed's random runs;
* the best size of a data set is the one with the highest mean over the other seeds;
* regret is the accuracy of that size minus the accuracy of what was said;
* `all` in place of a query strategy is the mean over them: one rule, whichever strategy follows.

A seed's number is the mean over the data sets (and totals); means and 95 % intervals (Student's t) are over seeds.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intervals import BLUE, GREY, Interval, chart
from studies import finished, interval, number, put, rows, write

RANDOM = "random"
ALL = "all"


@dataclass
class Run:
    """A finished run: its accuracies in percent by total, and what sizers said. Sizes and totals are images a class."""

    set: str
    arm: str
    seed: int
    size: float
    accuracy: dict
    advice: dict


def column(total):
    """The column of `accuracies.csv` with the accuracies at a total."""
    return f"accuracy at {total:g} a class"


def studied(studies, totals):
    """The rows of `accuracies.csv` and of `advice.csv` for some studies, in the order of their plans."""
    accuracies, advices = [], []
    for run in finished(studies):
        key = [run.set, run.plan["arm"], run.plan["seed"], int(run.plan["initial.size"]) / run.n_classes]
        reached = run.accuracies()
        accuracies.append([*key, *(reached.get(total, "") for total in totals)])
        said = advice(run.folder, run.n_classes)
        advices += [[*key, sizer, query or "", size] for (sizer, query), size in said.items()]
    return accuracies, advices


KEY = ["data set", "arm", "seed", "size a class"]


def keep(studies, totals, folder, keep_others):
    accuracies, advices = studied(studies, totals)
    put(folder / "accuracies.csv", [*KEY, *map(column, totals)], accuracies, len(KEY), keep_others)
    put(folder / "advice.csv", [*KEY, "sizer", "told of", "says, a class"], advices, len(KEY), keep_others)


def advice(folder, n_classes):
    """(sizer, query strategy that it was told of) -> images a class: what it wanted first, or had when it was content."""
    first, content, last = {}, {}, 0
    for file in sorted(folder.glob("rounds/*/sizing.json")):
        sizings = json.loads(file.read_text())
        last = sizings["labels"]
        for said in sizings["said"]:
            key = said["sizer"], said.get("query")
            first.setdefault(key, said["size"])
            if said["content"]:
                content.setdefault(key, sizings["labels"])
    return {key: max(content.get(key, last), size) / n_classes for key, size in first.items()}


def read(folder, totals):
    """The runs that `accuracies.csv` and `advice.csv` tell of."""
    said = defaultdict(dict)
    for row in rows(folder / "advice.csv"):
        said[tuple(row[name] for name in KEY)][row["sizer"], row["told of"] or None] = float(row["says, a class"])
    runs = []
    for row in rows(folder / "accuracies.csv"):
        accuracy = {total: 100 * float(row[column(total)]) for total in totals if row[column(total)]}
        advice = said[tuple(row[name] for name in KEY)]
        runs.append(Run(row["data set"], row["arm"], int(row["seed"]), float(row["size a class"]), accuracy, advice))
    return runs


class World:
    """The runs of one data set, by arm, size and seed."""

    def __init__(self, runs):
        self.runs = {(run.arm, run.size, run.seed): run for run in runs}
        self.seeds = sorted({run.seed for run in runs})
        self.sizes = sorted({run.size for run in runs})
        # What a sizer says as images come one round after the other: in the run that begins with the fewest.
        advised = sorted((run for run in runs if run.advice), key=lambda run: -run.size)
        self.advice = {run.seed: run.advice for run in advised}

    def random(self, seed, total):
        """The accuracy of random images alone: the mean over the seed's random runs, which differ by chance."""
        of_seed = [self.runs.get((RANDOM, size, seed)) for size in self.sizes]
        return np.mean([run.accuracy[total] for run in of_seed if run and total in run.accuracy])

    def studied(self, query, seed, total):
        """Sizes up to the total and their accuracies; that of the total itself is `random`."""
        below = [size for size in self.sizes if size < total]
        values = [self.runs[query, size, seed].accuracy[total] for size in below]
        return below + [total], values + [self.random(seed, total)]

    def at(self, query, seed, total, size):
        sizes, values = self.studied(query, seed, total)
        return float(np.interp(np.log(size), np.log(sizes), values))

    def best_without(self, query, seed, total):
        """The size with the highest mean over the other seeds."""
        others = [self.studied(query, other, total)[1] for other in self.seeds if other != seed]
        sizes, _ = self.studied(query, seed, total)
        return sizes[int(np.argmax(np.mean(others, axis=0)))]

    def said(self, sizer, query, seed):
        told = self.advice[seed]
        return told.get((sizer, query), told.get((sizer, None)))


def sizers_of(worlds):
    names = {}
    for world in worlds.values():
        for told in world.advice.values():
            names.update(dict.fromkeys(sizer for sizer, _ in told))
    return list(names)


def options(worlds):
    """Every sizer and every fixed size: a name, and what it says to a query strategy with a seed of a world."""
    sizes = sorted({size for world in worlds.values() for size in world.sizes})
    found = {sizer: (lambda world, query, seed, sizer=sizer: world.said(sizer, query, seed)) for sizer in sizers_of(worlds)}
    found.update({f"always {size:g} a class": (lambda world, query, seed, size=size: size) for size in sizes})
    return found


def by_seed(worlds, query, totals, says, quantity):
    """A number for each seed: the mean of a quantity over data sets and totals."""
    seeds = sorted(set.intersection(*(set(world.seeds) for world in worlds.values())))
    of_seed = lambda seed: [quantity(world, query, seed, total, says(world, query, seed)) for world in worlds.values() for total in totals]
    return np.array([np.mean(of_seed(seed)) for seed in seeds])


def accuracy(world, query, seed, total, size):
    return world.at(query, seed, total, size)


def regret(world, query, seed, total, size):
    best = world.best_without(query, seed, total)
    return world.at(query, seed, total, best) - world.at(query, seed, total, size)


def over_queries(worlds, queries, totals, says, quantity):
    """The mean of a quantity over some query strategies, for each seed."""
    return np.mean([by_seed(worlds, query, totals, says, quantity) for query in queries], axis=0)


def regrets(worlds, queries, named, all_totals):
    """Regret and gain over the best fixed size in hindsight: for each query strategy and all, for each total and all."""
    table = []
    groups = {query: [query] for query in queries} | {ALL: queries}
    for label, group in groups.items():
        for totals in dict.fromkeys([*((total,) for total in all_totals), tuple(all_totals)]):
            label_of_totals = ALL if len(totals) == len(all_totals) else f"{totals[0]:g}"
            table += regrets_of(worlds, group, named, totals, [label, label_of_totals])
    header = ["query", "total a class", "sizer", "seeds", "accuracy", "regret", "regret ±", "above the best fixed size", "above ±", "best fixed size"]
    return header, table


def regrets_of(worlds, queries, named, totals, labels):
    """The rows of one group of query strategies and of totals."""
    accuracies = {name: over_queries(worlds, queries, totals, says, accuracy) for name, says in named.items()}
    fixed = [name for name in named if name.startswith("always")]
    best = max(fixed, key=lambda name: accuracies[name].mean())
    table = []
    for name, says in named.items():
        cost = interval(over_queries(worlds, queries, totals, says, regret))
        gain = interval(accuracies[name] - accuracies[best]) if name != best else (0.0, 0.0)
        cells = [accuracies[name].mean(), *cost, *gain]
        table.append([*labels, name, len(accuracies[name]), *map(number, cells), best])
    return table


def by_set(worlds, queries, named, totals):
    """What each sizer says for each data set, and the mean accuracies at the totals."""
    table = []
    for name_of_set, world in worlds.items():
        for query in queries:
            for name, says in named.items():
                sizes = [says(world, query, seed) for seed in world.seeds]
                at = [np.mean([world.at(query, seed, total, size) for seed, size in zip(world.seeds, sizes)]) for total in totals]
                table.append([name_of_set, query, name, number(np.mean(sizes)), number(min(sizes)), number(max(sizes)), *map(number, at)])
    header = ["data set", "query", "sizer", "says, a class", "from", "to", *map(column, totals)]
    return header, table


#: Regret in points at the ends of a panel.
REACH = -3.0, 6.0


def chart_of(table):
    """A panel for each query strategy, a row for each sizer; the regret over all totals with its interval."""
    colour = lambda name: GREY if name.startswith("always") else BLUE
    panel = lambda query: "mean of these" if query == ALL else f"then {query}"
    intervals = [Interval(panel(row[0]), row[2], float(row[5]), float(row[6]), colour(row[2])) for row in table if row[1] == ALL]
    return chart({"": intervals}, REACH, "regret, points ± 95 %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="[NAME=]STUDY")
    parser.add_argument("--totals", nargs="+", type=float, default=[5, 10, 20], metavar="IMAGES")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--add", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.studies:
        keep(args.studies, args.totals, args.out, args.add)
    runs = read(args.out, args.totals)
    of_set = defaultdict(list)
    for run in runs:
        of_set[run.set].append(run)
    worlds = {name: World(found) for name, found in of_set.items()}
    queries = list(dict.fromkeys(run.arm for run in runs if run.arm != RANDOM))
    named = options(worlds)
    header, table = regrets(worlds, queries, named, args.totals)
    write(args.out / "regrets.csv", header, table)
    (args.out / "regrets.svg").write_text(chart_of(table))
    write(args.out / "by-set.csv", *by_set(worlds, queries, named, args.totals))


if __name__ == "__main__":
    main()
