"""Production-grade OpenAI API calls."""
