"""Streams at their limits: every form a provider may send, crowds of them, and readers who do not read."""
