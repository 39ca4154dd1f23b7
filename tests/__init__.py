"""What headworks promises, as running code."""
