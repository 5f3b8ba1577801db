"""Does each control hold anything? See `__main__`."""
