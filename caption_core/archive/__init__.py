"""Where images come from and where rows go: no model, no Ray."""
