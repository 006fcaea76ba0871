"""The parts of a page, each made of documents; a part without anything to show is nothing."""
