"""Metrics of captions: BLEU, METEOR, ROUGE-L, CIDEr-D, SPICE, intervals; additive over shards."""
