"""The reviewer's verifier: reads raw bytes, trusts nothing, reports all it finds.

Standard library and cryptography only.
"""
