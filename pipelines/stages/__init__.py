"""The stages of a run, a file a command: each takes a recipe and returns an Outcome."""
