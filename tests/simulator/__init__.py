"""Tests of the practice OpenAI, with the official client as the judge."""
