"""What trains, and the training step that follows from it."""
