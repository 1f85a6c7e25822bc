"""The nouns that several stages share: waveforms, manifests, checkpoints, voices. Imports none of ours."""
