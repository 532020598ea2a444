"""What Programs need while they run: the thread team, thread counts, memory."""
