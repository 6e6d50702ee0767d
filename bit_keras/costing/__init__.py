"""What a network costs before anybody pays for it: arithmetic from depths, width and numbers."""
