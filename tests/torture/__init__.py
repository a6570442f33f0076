"""Many publishers at once, killed and stalled at random, before a registry that fails at random: `make torture`."""
