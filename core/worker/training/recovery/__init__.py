"""What a training does by itself when something goes wrong: no memory, NaN, a card too hot, a stop in a step."""
