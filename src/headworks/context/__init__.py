"""Makes requests fit: windows that learn, summaries by a call of their own."""
