"""A click model whose weight is in embedding tables, trained with the real ops, exported full and made smaller."""
