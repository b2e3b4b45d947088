"""Writes, builds and runs the snippets of the console. `../snippets.py` is the program."""
