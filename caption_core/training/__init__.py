"""Training of captioners: data, input pipeline, loop, and the Ray Train entry."""
