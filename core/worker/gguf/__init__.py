"""GGUF files of a merged model, by llama.cpp's converter, and the proof that they hold the same model."""
