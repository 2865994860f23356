"""What people read of a run: report.html, the model card, and the record that both tell of."""
