"""Synthesize, score, compare: is the fine-tuned voice better than zero-shot cloning, and by how much?"""
