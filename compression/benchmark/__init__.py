"""How fast the captioning job is, and how far that is from what the machine can do."""
