"""What the keeper does, chore by chore, so that nothing is forgotten or kept too long."""
