"""Streams that are put together, against the same answers in one piece."""
