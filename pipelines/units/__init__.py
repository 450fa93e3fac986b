"""A recipe's models, and one unit made with them. No Ray in it."""
