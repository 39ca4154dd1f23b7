"""Promises of the catalogue: what models cost, and until when they live."""
