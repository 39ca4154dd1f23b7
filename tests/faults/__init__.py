"""The fault matrix: whatever breaks, and whenever, a call ends exactly once."""
