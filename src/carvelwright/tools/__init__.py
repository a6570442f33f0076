"""One adapter per external tool: typed calls in, typed results out; machine output only."""
