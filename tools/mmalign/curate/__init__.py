"""Help for those who add records: drafts, references from BibTeX and arXiv, the issue form."""
