"""Attention that replaces a model's own: for long inputs, in windows, by hashing, segment by segment."""
