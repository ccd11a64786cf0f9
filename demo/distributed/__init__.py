"""A field-aware factorization machine whose tables are on five parameter servers, exported whole and in parts."""
