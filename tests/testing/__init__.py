"""What headworks ships for the tests of others."""
