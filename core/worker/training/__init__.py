"""The training itself: model and adapter, rows, callbacks, sample answers, the record of what it took."""
