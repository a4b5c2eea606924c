"""What is run by hand, beside the commands of omniconv bench."""
