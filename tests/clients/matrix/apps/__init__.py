"""The apps of the matrix: each runs in its own environment."""
