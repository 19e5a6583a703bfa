"""Kinds of archives, one a file; `source.ImageSource` is what they have in common."""
