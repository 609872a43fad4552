"""Templates that write Triton for GPUs, one module per idea."""
