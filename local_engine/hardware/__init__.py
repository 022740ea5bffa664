"""What this machine has for running models, and what follows from it: facts are read, the decision is pure."""
