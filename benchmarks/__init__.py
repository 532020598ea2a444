"""Training steps and matrix products, timed side by side with other libraries."""
