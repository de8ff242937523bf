"""What a condensed set is worth: networks trained on it alone."""
