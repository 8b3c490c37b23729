"""What comes with the end of a job: who is told, what is forgotten, what is too late to begin."""
