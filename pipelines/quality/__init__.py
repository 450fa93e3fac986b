"""What a dataset is worth before anybody trains on it: its copies, its breadth, its classes."""
