"""Templates that write C++ for the CPU, one module per idea."""
