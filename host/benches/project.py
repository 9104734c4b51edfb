#!/usr/bin/env python3
"""What `coldstart select` says of its predictions, beside what they are worth.

    python3 host/benches/project.py CIFAR10_JPEG.tar.gz [--program target/release/coldstart] [--seeds 10] > host/benches/results/project.csv

For each seed 1000 photographs are drawn from the training part of the archive, without their labels. A project chooses 40 in each round,
with all defaults and with `--draw 0`, and gets their labels. A row is a round: labels, the accuracy on all images that have none, and the
estimate and the expected gain with their intervals.
"""
import argparse
import csv
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

N_PHOTOS, PER_ROUND, ROUNDS = 1000, 40, 6
ARMS = {"a fifth drawn": [], "none drawn": ["--draw", "0"]}
HEADER = ["arm", "seed", "labels", "accuracy"] + [f"{what}_{end}" for what in ("estimate", "gain") for end in ("value", "low", "high")]


def photographs(archive, seed, folder):
    """Writes the photographs of a seed, under names that say nothing, and returns the class of each."""
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and "test" not in m.name and m.name.endswith(".jpg")]
        random.Random(seed).shuffle(members)
        chosen = {member.name: number for number, member in enumerate(members[:N_PHOTOS])}
        classes = {}
        for member in sorted(members[:N_PHOTOS], key=lambda member: member.offset):
            name = f"{chosen[member.name]:04}.jpg"
            (folder / name).write_bytes(tar.extractfile(member).read())
            classes[name] = member.name.split("/")[-2]
    return classes


def accuracy_of(project, classes):
    """The accuracy of the predictions for all images without a label."""
    with open(project / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["label"]]
    return sum(row["prediction"] == classes[row["image"]] for row in rows) / len(rows)


def ends(interval):
    return [f"{interval[end]:.4f}" for end in ("value", "low", "high")]


def one_project(program, photos, classes, seed, flags, folder):
    """Yields labels, accuracy, estimate and gain of each round that has them."""
    project, labels = folder / "project", folder / "labels.csv"
    select = [program, "select", "--images", photos, "--size", PER_ROUND, "--out", project, "-s", f"seed={seed}", *flags]
    for number in range(ROUNDS):
        run(select)
        if number > 0:
            estimate = json.loads((project / "estimate.json").read_text())
            accuracy = accuracy_of(project, classes)
            yield [estimate["labels"], f"{accuracy:.4f}", *ends(estimate["accuracy"]), *ends(estimate["gain"])]
        picks = json.loads((project / "picks.json").read_text())["picks"]
        rows = [f"{pick['image']},{classes[pick['image']]}\n" for pick in picks]
        labels.write_text("image,label\n" + "".join(rows))
        run([program, "ingest", project, labels])


def run(command):
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{ran.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--program", default="target/release/coldstart")
    parser.add_argument("--seeds", type=int, default=10)
    settings = parser.parse_args()
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(HEADER)
    for seed in range(1, settings.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            photos.mkdir()
            classes = photographs(settings.archive, seed, photos)
            for arm, flags in ARMS.items():
                with tempfile.TemporaryDirectory() as place:
                    for row in one_project(settings.program, photos, classes, seed, flags, Path(place)):
                        table.writerow([arm, seed, *row])
                        sys.stdout.flush()


if __name__ == "__main__":
    main()
