"""The one loop that trains, on accelerate, and what it needs: batches, schedules, checkpoints, a teacher's answers."""
