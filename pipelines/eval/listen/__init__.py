"""A page on which the owner hears two voices blindly and says which one is more like themselves."""
