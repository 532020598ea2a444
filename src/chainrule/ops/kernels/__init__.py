"""Plain NumPy kernels behind the op records: arrays in, arrays out, no graphs.

They are the reference that the compiler is compared with: clear first, then fast.
"""
