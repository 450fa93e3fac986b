"""DeepLab: what it is trained on, how far it is, and the loop of one worker."""
