"""Proof that the practice OpenAI looks like the real one: recorded exchanges are asked again."""
