"""Rules over the whole knowledge base: what no single field can know."""
