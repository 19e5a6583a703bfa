"""Captioning on Ray: the only place where the two meet."""
