"""What is trained, on what, how far it is, and the loop of one worker."""
