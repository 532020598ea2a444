"""Floor 5: letting models write, token by token."""

from chainrule.generation.beams import Beams, beam_search
from chainrule.generation.writing import generate, stream, write_text

__all__ = ["Beams", "beam_search", "generate", "stream", "write_text"]
