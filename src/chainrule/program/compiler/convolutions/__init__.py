"""Kernels of convolutions: images are padded into a small buffer, register tiles run over it.

``geometry`` says what a convolution is, ``planes`` how padded images lie in the buffer, ``pixels``
is the arithmetic with pixels in the lanes, ``planning`` chooses, ``emission`` writes.
"""
