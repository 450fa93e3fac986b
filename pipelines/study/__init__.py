"""What the settings are worth: a grid of measurements and its page."""
