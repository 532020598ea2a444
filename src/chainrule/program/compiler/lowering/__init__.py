"""One row an op: how an element of its result is computed from elements of its operands."""
