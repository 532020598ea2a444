"""What earlier processes made, kept in a folder of the user's: machine code and unpacked data.

>>> key = make_key("ir", "define void @f() { ret void }")
>>> entry = lookup(key)  # None, or what an earlier process stored under the key

The page docs/cache.md says where the folder is and what is trusted in it.
"""

from chainrule.program.compiler.cache.entries import Entry, lookup, store
from chainrule.program.compiler.cache.folder import is_enabled
from chainrule.program.compiler.cache.keys import LEVELS, make_key

__all__ = ["LEVELS", "Entry", "is_enabled", "lookup", "make_key", "store"]
