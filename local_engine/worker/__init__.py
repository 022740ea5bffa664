"""The engine thread: the one place that calls the model, and the jobs and events it exchanges with the server."""
