"""The whole API through both faces: every path, every kind of body, byte for byte."""
