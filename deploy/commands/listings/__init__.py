"""Commands that list what there is: networks, operators, data sets, targets."""
