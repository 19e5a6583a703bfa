"""What a finished captioner takes and gives: sizes, speed, memory, quality, and the machine they were measured on."""
