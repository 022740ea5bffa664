"""Carries. Everything that faces clients, the gate, the ledger, and the `ringfence` command."""

__version__ = "0.1.0"  # of the program: the package's own is read from here (pyproject.toml)
