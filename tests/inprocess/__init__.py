"""Tests of the face within the process."""
