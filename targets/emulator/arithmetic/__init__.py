"""The emulator's integer arithmetic, whatever file asks for it."""
