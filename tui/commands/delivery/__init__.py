"""Commands that deliver a trained model: chat, merge, export, push, hand-off."""
