"""Chats as a model meets them: the prompts of its chat template, and the answers behind them."""
