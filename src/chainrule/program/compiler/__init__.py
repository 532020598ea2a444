"""The native engine: a traced graph becomes machine code."""
