"""The gateway: HTTP, listeners, admin plane."""
