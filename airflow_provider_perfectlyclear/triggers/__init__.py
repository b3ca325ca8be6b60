"""Trigger of the provider."""
