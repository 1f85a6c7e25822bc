"""The objective and the trainer."""
