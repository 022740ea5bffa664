"""The ledger's bytes: lines, keys, tree, notes and files. Standard library and `cryptography` only.

Writer and verifier share this package; docs/ledger-format.md says the same in prose, with test vectors.
"""
