"""Embeds words by skip-grams with negative sampling; pairs are made while the text streams by.

`python -m examples.word_embeddings.plain` prints how many of a word's five nearest words have its topic.
"""

from itertools import islice

import numpy as np

from client.mx import autograd, gluon, mx
from examples.word_embeddings.data import WORDS, write_text

EPOCHS = 12
BATCH_SIZE = 500
NEGATIVES = 5


class SkipGram(gluon.HybridBlock):
    """Scores of contexts (n, m) beside words (n, 1)."""

    def __init__(self):
        super().__init__()
        self.words = gluon.nn.Embedding(WORDS, 16, sparse_grad=True)
        self.contexts = gluon.nn.Embedding(WORDS, 16, sparse_grad=True)

    def hybrid_forward(self, F, words, contexts):
        return F.broadcast_mul(self.words(words), self.contexts(contexts)).sum(axis=2)


def build_model():
    return SkipGram()


def load_data():
    sentences, words = write_text()
    return gluon.data.SimpleDataset(sentences), gluon.data.ArrayDataset(*words)


def stream_pairs(data):
    """Yield each word with each of the words around it, sentence by sentence."""
    for index in np.random.permutation(len(data)):
        sentence = data[int(index)]
        for place, word in enumerate(sentence):
            around = sentence[max(place - 2, 0) : place + 3]
            yield from ((word, context) for context in around if context != word)


def stream_batches(data, batch_size):
    pairs = stream_pairs(data)
    while batch := list(islice(pairs, batch_size)):
        words, contexts = np.array(batch).T[:, :, None]
        others = np.random.randint(WORDS, size=(len(batch), NEGATIVES))
        yield mx.nd.array(words), mx.nd.array(np.concatenate([contexts, others], axis=1))


def train(net, data):
    net.hybridize()
    loss = gluon.loss.SigmoidBCELoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    for _ in range(EPOCHS):
        for words, contexts in stream_batches(data, BATCH_SIZE):
            labels = mx.nd.one_hot(mx.nd.zeros(len(words)), NEGATIVES + 1)
            with autograd.record():
                losses = loss(net(words, contexts), labels)
            losses.backward()
            trainer.step(len(words))


def evaluate(net, data):
    words, topics = data[:]
    places = mx.nd.L2Normalization(net.words(mx.nd.array(words)))
    nearness = mx.nd.dot(places, places.T).asnumpy()
    np.fill_diagonal(nearness, -1)
    nearest = np.argsort(-nearness, axis=1)[:, :5]
    return {"precision_at_5": (topics[nearest] == topics[:, None]).mean()}


def main(seed=0):
    mx.random.seed(seed)
    np.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
