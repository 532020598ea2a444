"""Words of the table that machine code is given: what stands where."""

ERROR = 0  # address of the error word
ARENA = 1  # address of the arena
STEPS = 2  # number of steps to run
PROFILE = 3  # address of the cycles counted for every kernel
COUNTERS = 4  # address of a counter for every kernel, eight words apart, all zero
FIRST_SLOT = 5  # addresses of inputs, outputs and constants follow

NOT_FINITE = -1  # code of the error word for a loss that is not finite
OUT_OF_BOUNDS = -2  # code for an access outside a tensor's memory, where accesses are checked
