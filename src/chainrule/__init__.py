"""chainrule: deep learning you can see through."""
