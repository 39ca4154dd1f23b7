"""Promises to apps that talk over WebSocket connections, on real sockets."""
