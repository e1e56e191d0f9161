"""Sentences of words that are good, bad or neither; `not` reverses the meaning of the next word."""

import numpy as np

WORDS = 200
_NOT = 1
_GOOD = range(2, 32)
_BAD = range(32, 62)


def write_sentences(count, seed):
    """Return triples of words int32 (n,), from 1; their number; and 1 if most of them are good, else 0."""
    rng = np.random.default_rng(seed)
    sentences = []
    while len(sentences) < count:
        words = rng.integers(62, WORDS, rng.integers(6, 41)).astype(np.int32)
        kinds = rng.random(len(words))
        words[kinds < 0.3] = rng.integers(2, 62, (kinds < 0.3).sum())
        words[kinds > 0.85] = _NOT
        turned = np.concatenate([[1], np.where(words[:-1] == _NOT, -1, 1)])
        score = (turned * (np.isin(words, _GOOD).astype(int) - np.isin(words, _BAD))).sum()
        if score:
            sentences.append((words, len(words), int(score > 0)))
    return sentences
