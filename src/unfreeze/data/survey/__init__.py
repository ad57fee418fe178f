"""What the files of a data set are really like, found by decoding them before anything is trained."""

from unfreeze.data.survey.findings import Finding, Findings, at_row, findings, outside
from unfreeze.data.survey.histogram import Histogram
from unfreeze.data.survey.report import FileReport, Survey
from unfreeze.data.survey.survey import survey

__all__ = [
    "FileReport",
    "Finding",
    "Findings",
    "Histogram",
    "Survey",
    "at_row",
    "findings",
    "outside",
    "survey",
]
