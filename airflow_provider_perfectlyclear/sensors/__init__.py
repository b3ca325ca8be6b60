"""Sensor of the provider."""
