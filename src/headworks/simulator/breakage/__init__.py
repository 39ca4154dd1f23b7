"""What each fault does to an answer: before its head, to its head, its events, its body, after it."""
