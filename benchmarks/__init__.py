"""What measures. Figures and the commands that make them are in README.md; no test depends on them."""
