"""A trained bundle as a file for other runtimes, checked against the line's own networks."""
