"""Unmodified client libraries against the real service."""
