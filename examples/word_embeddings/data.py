"""A text whose sentences have a topic each, and the topics of its words."""

import numpy as np

WORDS = 300
_TOPICS = 15


def write_text():
    """Return sentences, each int32 (n,), and the words with their topics, each int32 (300,)."""
    rng = np.random.default_rng(1)
    topics = rng.permutation(np.arange(WORDS, dtype=np.int32) % _TOPICS)
    sentences = []
    for _ in range(1200):
        of_topic = np.flatnonzero(topics == rng.integers(_TOPICS))
        length = rng.integers(8, 17)
        words = np.where(
            rng.random(length) < 0.5, rng.choice(of_topic, length), rng.integers(WORDS, size=length)
        )
        sentences.append(words.astype(np.int32))
    return sentences, (np.arange(WORDS, dtype=np.int32), topics)
