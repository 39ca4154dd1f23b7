"""Calls at a pace that the provider's true limiter can take."""
