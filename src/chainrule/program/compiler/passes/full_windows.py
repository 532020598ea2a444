"""Full windows: a convolution that slides nowhere is a matrix product.

Reason: a kernel as large as its image, as LeNet's C5 has it, is a fully connected layer; its
gradient, as a convolution, would pad a single pixel on all sides and multiply mostly zeros.

- One output place: every input of an image meets a weight of its own, and all are added.
- One input place, every output sees it through another place of the kernel: no sum over places.
- A kernel of one place on an image whose channels are its outermost axis in memory: the weight
  gradient of the first. (Kernels of one place on other images stay convolutions: there channels
  lie between images and pixels.)

The same products are added, in another order; those with zeros are left out.
"""

from __future__ import annotations

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.rewriting import Rewriter, made_by, rewrite, table


def full_windows(block: Block) -> bool:
    """Turn convolutions of the block and its bodies into products, where nothing slides.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _product(walk: Rewriter, x: Instruction) -> Tensor | None:
    image, weight = x.operands
    if x.attributes["groups"] != 1 or image.size == 0 or weight.size == 0:
        return None
    spatial = tuple(range(2, len(image.shape)))
    inside, kernel, outside = image.shape[2:], weight.shape[2:], x.result.shape[2:]
    ones = (1,) * len(spatial)
    unpadded = all(pair == (0, 0) for pair in x.attributes["padding"])
    dense = x.attributes["kernel_dilation"] == x.attributes["input_dilation"] == ones
    if unpadded and dense and outside == ones and inside == kernel:
        over = (1, *spatial)
        dot = walk.emit("dot_general", image, weight, contract=(over, over), batch=((), ()))
        return walk.emit("reshape", dot, shape=x.result.shape)
    around = tuple((k - 1, k - 1) for k in kernel)
    plain = dense and x.attributes["stride"] == ones
    if plain and inside == ones and x.attributes["padding"] == around:
        turned = walk.emit("flip", weight, axes=spatial)
        dot = walk.emit("dot_general", image, turned, contract=((1,), (1,)), batch=((), ()))
        return walk.emit("reshape", dot, shape=x.result.shape)
    swapped = (1, 0, *spatial)
    if plain and unpadded and kernel == ones and _axes(image) == swapped:
        dot = walk.emit("dot_general", weight, image, contract=((1,), (1,)), batch=((), ()))
        first = (weight.shape[0], image.shape[0], *inside)
        return walk.emit("transpose", walk.emit("reshape", dot, shape=first), axes=swapped)
    return None


def _axes(x: Tensor) -> tuple[int, ...] | None:
    """The order of axes by which ``x`` is a transposed tensor."""
    made = made_by(x, "transpose")
    return None if made is None else tuple(made.attributes["axes"])


_RULES = table(("convolution", _product))
