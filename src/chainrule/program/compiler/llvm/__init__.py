"""The only part of the compiler that speaks LLVM: text of functions, vector math, machine code."""
