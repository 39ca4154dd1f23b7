"""From settings to the parts of an engine."""
