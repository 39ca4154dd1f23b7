"""Where keys and money are kept."""
