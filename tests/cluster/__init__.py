"""A real Kubernetes of several nodes on one machine, without Docker, and the tests that walk the package through it.

`python -m tests.cluster up|down|status|run|demo` is for people; `pytest tests/cluster` is for CI. Both need root.

Each machine of the cluster (`control-plane`, `node1`, `node2` ...) is a set of Linux namespaces held by one process.
That is process 1 of its own PID namespace: killing it ends everything that runs there, down to the last container, and
with the last process the kernel removes the machine's mounts and network devices. Only cgroups are removed by hand.
"""
