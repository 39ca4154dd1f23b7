"""The way to a provider, judged by scripted servers."""
