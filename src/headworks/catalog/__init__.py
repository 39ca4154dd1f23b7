"""What the models cost and can do."""
