"""Builds the image and looks at it. `../image.py` is the program."""
