"""What each path of the practice OpenAI answers: one file a family of paths."""
