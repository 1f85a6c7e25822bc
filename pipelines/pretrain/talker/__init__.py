"""Talker and code predictor of `nano`: the stock classes at small widths, many speakers, the trainer's objective."""
