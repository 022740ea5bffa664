"""The OpenAI surface over HTTP. What it does not know or cannot do is refused by name, never ignored."""
