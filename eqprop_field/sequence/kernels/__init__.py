"""Networks of kernels, and backward tuning."""
