"""Many runs and what they say together: seeds, few-shot curves, VTAB-1k, the report."""
