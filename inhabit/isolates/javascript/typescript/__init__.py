"""From source as a model wrote it to what the interpreter runs, and what can be known of it without running."""
