"""What a person can put right: raised where it is found, shown as one line by the stage's entry point."""


class InputError(ValueError):
    """A bad recording, manifest, setting or folder. The message says what, where, and what to do about it."""
