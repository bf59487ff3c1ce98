"""Is a rule what the shipped machine code does, for every value? `make prove` asks; docs/proofs.md is its answer."""
