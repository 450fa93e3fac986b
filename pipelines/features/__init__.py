"""Which maps an interpreter should read: what may be chosen, how choices are compared, and their chart."""
