"""Chats as people keep them, read as messages with role and content."""
