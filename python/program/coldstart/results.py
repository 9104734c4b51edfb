"""Reads the folders that `coldstart run` and `coldstart sweep` write.

A study's folder has `plan.csv`, with a row for each run and a column for each list of `[sweep]`, and `runs/RUN`. A run's folder has
`results.csv`, a row for each round, and `rounds/NNN/selection.csv`. Files are read as they are; `coldstart report` checks their hashes.
"""

import csv
import html
from pathlib import Path


def runs(folder, frame=None):
    """A data frame with a row for each run and round.

    :param folder: a run, a study, or a list of them
    :param frame: "pandas" or "polars"; by default whichever is installed, pandas first
    :return: columns `run`, one for each list of the study's `[sweep]`, and those of `results.csv`: `round`, `labels`,
        `labels_validation`, `accuracy` (in 0 to 1) and the other measures. A measure that a round does not have is missing.
    :raises FileNotFoundError: if there is no such folder
    :raises ValueError: if it is neither a run nor a study
    :raises ImportError: if neither pandas nor polars is installed
    """
    return _framed(rows(folder), frame)


def selections(folder, frame=None):
    """A data frame with a row for each image that was selected, in the order of selection.

    Columns `run`, the lists of `[sweep]`, `round`, `rank`, `id`, `label` and `score`; otherwise as `runs`.
    """
    return _framed(_selected(folder), frame)


def rows(folder):
    """What `runs` has, as a list of dictionaries; needs no other package."""
    found = []
    for run in _runs_of(folder):
        for row in _table(run.folder / "results.csv"):
            found.append({**run.keys, **row})
    return found


class Report:
    """The page of a run or a study: shown inline by Jupyter."""

    def __init__(self, folder, height=800):
        self.page = Path(folder) / "report.html"
        self.height = height
        if not self.page.is_file():
            raise FileNotFoundError(f"{self.page} is not there: `coldstart report {folder}` writes it")

    def __repr__(self):
        return f"Report({str(self.page.parent)!r})"

    def _repr_html_(self):
        page = html.escape(self.page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{int(self.height)}" style="border: 0"></iframe>'


def report(folder, height=800):
    """The page of a run or a study, `height` pixels high."""
    return Report(folder, height)


class _Run:
    def __init__(self, folder, keys):
        self.folder = folder
        self.keys = keys


def _runs_of(folder):
    """The runs of a run's folder, a study's, or several."""
    if isinstance(folder, (list, tuple)):
        return [run for one in folder for run in _runs_of(one)]
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if (folder / "plan.csv").is_file():
        return _runs_of_study(folder)
    if (folder / "journal.jsonl").is_file():
        return [_Run(folder, {"run": folder.resolve().name})]
    raise ValueError(f"{folder} is neither a run nor a study: it has no journal.jsonl and no plan.csv")


def _runs_of_study(folder):
    found = []
    for planned in _table(folder / "plan.csv", text=("run", "round0")):
        planned.pop("round0", None)
        run = folder / "runs" / planned["run"]
        # A run that has not begun has no folder; one that has no round yet has no results.
        if (run / "results.csv").is_file():
            found.append(_Run(run, planned))
    return found


def _selected(folder):
    found = []
    for run in _runs_of(folder):
        for finished in _table(run.folder / "results.csv"):
            round_ = finished["round"]
            for row in _table(run.folder / "rounds" / f"{round_:03}" / "selection.csv"):
                found.append({**run.keys, "round": round_, **row})
    return found


def _table(file, text=()):
    """The rows of a CSV file; columns named in `text` stay as they are written."""
    with open(file, newline="", encoding="utf-8") as lines:
        return [{key: value if key in text else _value(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def _value(text):
    """A number where the text is one, None where it is empty."""
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _framed(rows, frame):
    if frame not in (None, "pandas", "polars"):
        raise ValueError(f"frame is {frame!r}, and must be 'pandas' or 'polars'")
    for name in [frame] if frame else ["pandas", "polars"]:
        try:
            library = __import__(name)
        except ImportError:
            continue
        # polars looks at the first rows alone to find a column's type, unless told otherwise.
        return library.DataFrame(rows) if name == "pandas" else library.DataFrame(rows, infer_schema_length=None)
    raise ImportError(f"{frame or 'neither pandas nor polars'} is not installed; coldstart.rows() needs neither")
