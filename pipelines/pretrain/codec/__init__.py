"""The speech tokenizer of `nano`: the stock classes at small widths, trained as a neural audio codec."""
