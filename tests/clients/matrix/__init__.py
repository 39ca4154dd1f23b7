"""The client matrix: each app runs in its own environment, against both ends of the gateway."""
