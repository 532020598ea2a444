"""Matrix products, generated for their shape: register tiles, blocks, packing, fused epilogues.

A ``Product`` says the shape and where the operands lie; ``plan(product, target)`` chooses how it is
computed; the plan's stages are written into functions that the caller opened::

    product = Product(rows=128, columns=1024, depth=784, element="float",
                      a_row_stride=784, a_depth_stride=1,
                      b_depth_stride=16, b_column_stride=1, b_panel=16)
    chosen = plan(product, target)
    for stage in chosen.stages:                     # pack_b, pack_a, multiply: a barrier between
        chosen.emit(builder, stage, begin, end, access, epilogue)

``begin`` and ``end`` are values: a thread does any part of the ``stage.tasks`` tasks, whose number,
like the order of every sum, depends on shape and target only. ``Access`` says how code finds the
operands (``strided_access`` for plain ones), ``epilogue(builder, m, n, x, lanes)`` receives each
element once, with its whole sum. ``plan.scratch_bytes`` bytes are to be given as
``access.scratch`` if they are not 0.

Weights that stay are best kept in panels of ``preferred_panel(target, element)`` columns:
``[columns / P][depth][P]``, zeros after the last column (``pack_panels``, ``unpack_panels``).
"""

from chainrule.program.compiler.products.packing import pack_panels, unpack_panels
from chainrule.program.compiler.products.planning import Plan, Stage, plan, preferred_panel
from chainrule.program.compiler.products.product import Access, Epilogue, Product, strided_access
