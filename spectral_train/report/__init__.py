"""What a run says for a reader: tables, figures, costs, beside the figures of the papers."""
