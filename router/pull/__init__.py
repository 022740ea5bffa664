"""The process that fetches model weights: sealed as the gate is, dialling listed model sources, with a ledger."""
