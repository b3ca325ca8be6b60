"""Hook of the provider."""
