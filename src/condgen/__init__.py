"""Train class-conditional generative models, and find out whether their likelihood can be trusted."""
