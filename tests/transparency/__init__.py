"""What is sent arrives, and what comes back is what was answered, but for what is listed."""
