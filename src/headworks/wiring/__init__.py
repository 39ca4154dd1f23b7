"""From settings to the parts of an engine: routes, connections, keys, prices."""
