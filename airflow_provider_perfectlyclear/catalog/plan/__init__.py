"""The plan of a run: what is listed, and what has to be done about it."""
