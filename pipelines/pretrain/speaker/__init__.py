"""The speaker encoder of `nano`: the stock ECAPA-TDNN at small widths, trained to tell speakers apart, then frozen."""
