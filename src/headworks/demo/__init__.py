"""The main job on real traffic, in a few seconds and without an API key."""
