"""A Ray cluster of several nodes in this machine's processes: `python -m tests.integration.ray_nodes`.

In a process of its own, since a process that has been connected to one Ray keeps what it needs to talk to that one.
Prints the cluster's address; each line of its input is the number of a worker node to lose, answered when another one
has taken its place; ends with its input.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """A head without CPUs and two worker nodes of one CPU each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    workers = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    print(f"address {cluster.address}", flush=True)
    for line in sys.stdin:
        # Killed, with everything on it.
        cluster.remove_node(workers.pop(int(line)), allow_graceful=False)
        workers.append(cluster.add_node(num_cpus=1))
        print("replaced", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
