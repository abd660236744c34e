"""How English text becomes search terms, the same wherever tantivy indexes it."""

from typing import Any

__all__ = ["english"]


def english(tantivy: Any) -> Any:
    """tantivy's analyser: words in lower case, without stop words, stemmed.

    Args:
        tantivy: the imported module; whoever searches decides when to import it.
    """
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (
        tantivy.Filter.lowercase(),
        tantivy.Filter.stopword("english"),
        tantivy.Filter.stemmer("english"),
    ):
        chain = chain.filter(step)
    return chain.build()
