"""Dense convolution on the CPU beside its peers."""
