"""What files answer: decoded outputs, their axes, and accuracies that guessing reaches."""
