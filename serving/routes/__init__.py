"""The public routes, by what they are about."""
