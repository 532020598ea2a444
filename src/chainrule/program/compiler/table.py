"""Words of the table that machine code is given: what stands where."""

ERROR = 0  # address of the error word
ARENA = 1  # address of the arena
STEPS = 2  # number of steps to run
PROFILE = 3  # address of the cycles counted for every kernel
FIRST_SLOT = 4  # addresses of inputs, outputs and constants follow

NOT_FINITE = -1  # code of the error word for a loss that is not finite
