"""Kernels of convolutions: images are padded into a small buffer, register tiles run over it.

``geometry`` says what a convolution is and ``planes`` how padded images lie in the buffer.
``pixels`` (in the lanes: a convolution and its input gradient), ``correlations`` (channels in the
lanes: a weight gradient) and ``depthwise`` (a weight gradient with few channels in a group) are the
forms of the arithmetic, and ``image_lanes`` (images in the lanes, for few channels), which lays out
what stands around it too (``image_lanes_tensors``, ``image_lanes_nests``).
``planning`` chooses, ``weights`` says where tiles of pixels find theirs, ``emission`` and
``gradients`` write.
"""
