"""Model shapes, and models with random weights to try things on."""

from profkit.models.random import random_llama, random_prompt, size_that_fits

__all__ = ["random_llama", "random_prompt", "size_that_fits"]
