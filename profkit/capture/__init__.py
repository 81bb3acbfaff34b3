"""What runs while the cell runs."""
