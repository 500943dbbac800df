"""Operations on clips in memory that families, engine and training share: sizes, borders, colours."""
