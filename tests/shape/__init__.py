"""Tests of the house itself: architecture, documents, locks."""
