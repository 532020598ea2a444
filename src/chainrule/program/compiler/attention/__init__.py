"""Attention in tiles: softmax(q kᵀ) v and its gradients without a matrix of all scores.

A block of queries meets one block of keys after another; running maxima and sums (Milakov and
Gimelshein 2018, "Online normalizer calculation for softmax") stand for the scores that are gone.
The gradients compute the scores again from the normalisers (Dao et al. 2022, "FlashAttention").
Memory grows with the number of places, not with its square, and keys that no query of a block may
see cost nothing.
"""
