"""From loop nests to LLVM: the last step of lowering, and the only one that knows vectors."""
