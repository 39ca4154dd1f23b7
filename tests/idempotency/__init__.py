"""Calls that carry an idempotency key are made once."""
