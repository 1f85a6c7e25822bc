"""The streaming decoder of Qwen3-TTS: requests in, waveform chunks out; used by stages and service alike."""
