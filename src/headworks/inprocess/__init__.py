"""The engine under the official client, in its own process."""
