"""Bytes on their way: source files, results, copies."""
