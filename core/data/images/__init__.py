"""Images beside text: how rows name them, where they stand in a chat, and their files."""
