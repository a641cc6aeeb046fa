"""What a model is made of: found in its tree of modules, real or on torch's meta device."""
