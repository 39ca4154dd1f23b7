"""The headworks command."""
