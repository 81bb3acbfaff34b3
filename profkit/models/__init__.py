"""Model shapes, and builders of random-weight models."""
