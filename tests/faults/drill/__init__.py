"""The failure drill: sixteen ways in which a provider fails, by both faces, plain and streamed."""
