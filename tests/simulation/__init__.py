"""The pipeline's own code under a seeded scheduler that kills, freezes and loses (DESIGN.md, "The simulation")."""
