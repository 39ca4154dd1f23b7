"""Each family of paths of the practice OpenAI."""
