"""Settings: one strict file, the environment and flags, made into one frozen Snapshot.

Import the modules by name: a worker needs `codec` and `snapshot` only, and should not load the parsers.
"""
