"""How fast: the network alone in every runtime, the node as a whole, and README's table of what was measured."""
