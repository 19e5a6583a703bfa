"""Capstan's core: image archives in, captions out."""

__version__ = "0.1.0"
