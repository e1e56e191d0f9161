"""The task of `plain.py`: a loop of its own over the sentences of a node."""

from itertools import islice

import numpy as np

from client.mx import autograd, gluon, mx
from examples.word_embeddings.data import WORDS, write_text

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


def load_data(data_dir):
    sentences, words = write_text()
    return gluon.data.SimpleDataset(sentences), words


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


def train(net, data, context):
    net.hybridize()
    loss = gluon.loss.SigmoidBCELoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": context.learning_rate})
    for _ in range(context.epochs):
        for words, contexts in stream_batches(data, context.batch_size):
            labels = mx.nd.one_hot(mx.nd.zeros(len(words)), NEGATIVES + 1)
            with autograd.record():
                losses = loss(net(words, contexts), labels)
            losses.backward()
            trainer.step(len(words))


def evaluate(net, data, context):
    words, topics = data[:]
    places = mx.nd.L2Normalization(net.words(mx.nd.array(words)))
    nearness = mx.nd.dot(places, places.T).asnumpy()
    np.fill_diagonal(nearness, -1)
    nearest = np.argsort(-nearness, axis=1)[:, :5]
    return {"precision_at_5": (topics[nearest] == topics[:, None]).mean()}
