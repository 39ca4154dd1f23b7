"""The practice OpenAI."""
