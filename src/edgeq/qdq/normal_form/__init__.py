"""What other tools write in forms of their own, brought into the form that the reader knows."""
