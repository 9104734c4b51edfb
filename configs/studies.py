"""What the scripts beside this file share: a study's runs, tables, intervals."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats


@dataclass
class Finished:
    """A finished run: what the study's plan says of it, its folder, and its number of classes."""

    plan: dict
    set: str
    folder: Path
    n_classes: int

    def accuracies(self):
        """Images a class -> accuracy, as the run's table has it."""
        return {int(row["labels"]) / self.n_classes: row["accuracy"] for row in rows(self.folder / "results.csv")}


def finished(studies):
    """The finished runs of some studies, in the order of their plans. A study is a folder, or NAME=FOLDER to name its data set."""
    found = []
    for given in studies:
        name, _, path = given.rpartition("=")
        study = Path(path)
        for plan in rows(study / "plan.csv"):
            folder = study / "runs" / plan["run"]
            if (folder / "results.csv").exists():
                environment = json.loads((folder / "environment.json").read_text())
                set_name = plan.get("dataset") or name or study.name
                found.append(Finished(plan, set_name, folder, len(environment["dataset"]["classes"])))
    return found


def rows(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def write(file, header, table):
    with open(file, "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(table)


def put(file, header, table, n_key, keep_others):
    """Write a table. With `keep_others` it follows the file's own rows, but for those whose first `n_key` cells a line of the table has."""
    before = rows(file) if keep_others and file.exists() else []
    if before and list(before[0]) != header:
        raise SystemExit(f"{file} has other columns: {', '.join(before[0])}; add to it with the numbers of images that it was made with")
    again = {tuple(map(str, line[:n_key])) for line in table}
    kept = [list(row.values()) for row in before]
    write(file, header, [line for line in kept if tuple(line[:n_key]) not in again] + table)


def number(value):
    """Four decimals. Rounded twice: sums in another order differ in their last bits, which must not decide a tie."""
    return f"{round(float(value), 9):.4f}"


def interval(values):
    """The mean and half of its 95 % t-interval."""
    values = np.asarray(values)
    if len(values) < 2:
        raise SystemExit("an interval needs the runs of two seeds at least; run the study to its end")
    return values.mean(), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
