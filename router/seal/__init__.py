"""The seal: what the kernel forbids the processes of this service, and the proof by attack that it does.

Stands alone: ctypes and the standard library. Every step is irreversible for the process that takes it.
"""
