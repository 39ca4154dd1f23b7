"""Requests that are too long, from the app to the provider."""
