"""Kinds of files that a report has; a module of its own, so that a command's help loads nothing more."""

FORMATS = ("md", "html", "json", "csv", "parquet")
