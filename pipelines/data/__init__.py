"""Recordings in, codes out: preprocess, split, encode."""
