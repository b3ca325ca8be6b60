"""Sources and outputs on their way between storage and service."""
