"""Chrome JSON, as torch.profiler writes it and Perfetto and Holistic Trace Analysis read it."""
