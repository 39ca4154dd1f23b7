"""The configuration: what is read, what is refused, and how that is said."""
