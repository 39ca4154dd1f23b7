"""Promises of what is kept: keys, limits and money."""
