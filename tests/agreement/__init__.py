"""Agreement of the engine with real kernels: every recorded answer, asked again."""
