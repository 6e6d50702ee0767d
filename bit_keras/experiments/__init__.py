"""Studies of many runs: several seeds, few-shot curves, VTAB-1k, and the report."""
