"""What training minimizes besides the quantizer's own terms."""
