"""Which tokens of which requests the next decode works on: pure decisions over slots and cache cells."""
