"""The embedded engine: llama.cpp behind an OpenAI-compatible server, one process, no network of its own.

A parent imports `local_engine.launch` only. Everything that loads native code lives in the child process.
"""
