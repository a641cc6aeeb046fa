"""Commands that use a trained model: chat, merge, export, push, hand-off."""
