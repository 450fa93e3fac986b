"""A dataset's folder: written, read, leased, checked. No model and no Ray in it."""
