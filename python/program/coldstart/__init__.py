"""Results of Coldstart as data frames, and the program `coldstart` itself.

>>> import coldstart
>>> frame = coldstart.runs("studies/quick")
"""

from .results import Report, report, rows, runs, selections

__all__ = ["Report", "report", "rows", "runs", "selections"]
