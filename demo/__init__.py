"""A small recommender model, trained for real, to export in several ways and compare them."""
