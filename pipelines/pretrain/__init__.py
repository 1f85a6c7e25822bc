"""Pretraining of `nano`, a very small Qwen3-TTS: its corpus, its codec, its talker. Run once by a maintainer."""
