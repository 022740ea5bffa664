"""Between text and tokens: chat templates, whole characters, stop strings, JSON schemas."""
