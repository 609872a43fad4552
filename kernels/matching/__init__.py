"""What a flat graph computes, whatever the language of the kernel: shared by all templates."""
