"""A local page that records a voice, sentence by sentence, straight into data/raw/<voice>."""
