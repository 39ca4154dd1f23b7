"""Calls that wait for a limit: who is next, how long, and what those are told who cannot."""
