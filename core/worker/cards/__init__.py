"""A training on several cards: one process a card, numbered as ranks from 0. Each has all rows and trains on its share.

processes   rank 0 starts the other ranks, hears from them, and ends with the first that fails
rank        the rank of this process, and the few words that all ranks exchange outside the trainer
share       the share of a batch that a rank takes, and the order of the rows over all ranks
shards      a model of which each card holds a part (FSDP2), loaded and saved
"""
