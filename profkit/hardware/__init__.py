"""What the hardware can do, each figure with its source."""
