"""Annotations and datasets of other tools, in and out."""
