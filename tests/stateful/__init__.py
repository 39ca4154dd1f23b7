"""Tests of what providers keep: every call finds the account that made it."""
