"""The ledger of paid calls: its records, its segments, its lock."""
