"""Python programs on Monty: see `engine.PythonEngine`."""
