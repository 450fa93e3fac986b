"""Many units on a cluster: placed, counted, watched, submitted."""
