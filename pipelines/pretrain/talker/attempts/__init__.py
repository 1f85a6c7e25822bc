"""What the talker makes of texts by itself, several times each, and how well that is understood."""
