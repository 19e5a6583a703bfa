"""Techniques of compression, one file a technique: each takes a bundle and writes a bundle."""
