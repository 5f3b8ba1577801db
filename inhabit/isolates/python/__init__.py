"""Python programs on Monty."""

from inhabit.isolates.python.engine import PythonEngine

__all__ = ["PythonEngine"]
