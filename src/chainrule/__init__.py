"""chainrule: deep learning you can see through."""
from chainrule.ops import *
from chainrule.array import *
from chainrule.autodiff import *
