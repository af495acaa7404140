"""From the bytes of an image to uint8 pixels of the wanted size, and augmented views of it."""
