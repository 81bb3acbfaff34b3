"""profkit: Jupyter-first profiling for LLM inference on GPUs."""

__version__ = "0.1.0"
