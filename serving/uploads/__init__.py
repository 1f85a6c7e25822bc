"""Recordings that somebody sends: decoded where they can do no harm, measured, refused with the remedy."""
