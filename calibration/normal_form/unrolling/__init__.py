"""What holds steps or branches of its own, written out: recurrent layers, loops and conditions."""
