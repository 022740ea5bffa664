"""Model weights from a Hub: what is asked for, where it may come from, how it arrives whole, and what it must be.

Standard library only, and no socket: whoever pulls brings a `Transport`.
"""
