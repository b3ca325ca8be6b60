"""What a run says of itself: progress, manifest, summary, result."""
