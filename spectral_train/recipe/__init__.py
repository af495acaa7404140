"""How a network is trained, as one frozen value, and what its names mean."""
