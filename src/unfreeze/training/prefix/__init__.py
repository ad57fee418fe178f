"""The prefix engine at work in the training loop: frozen blocks run once per clip, and not once per epoch."""
