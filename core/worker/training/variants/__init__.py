"""Ways to train an adapter other than plain LoRA, by what PEFT has for them."""
