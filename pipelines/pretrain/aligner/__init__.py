"""Which letter is spoken when: a small recogniser of codes, and what it says of every clip."""
