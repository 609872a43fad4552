"""What a model is told: Markdown templates and one function that fills them."""
