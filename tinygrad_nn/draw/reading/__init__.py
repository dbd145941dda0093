"""From a graph, a plan or a function to the description: what there is to know of each node."""
