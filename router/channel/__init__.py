"""The way between a worker and the gate: small binary frames over an inherited AF_UNIX stream socketpair."""
