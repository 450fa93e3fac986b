"""Annotating in the browser, with the interpreter watching."""
