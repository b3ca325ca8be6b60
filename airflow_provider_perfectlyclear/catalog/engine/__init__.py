"""The engine of a run: what one turn does, and its steps."""
