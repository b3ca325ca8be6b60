"""What a run tells: manifest, summary and metrics."""
