"""Classifies sentences as good or bad; a batch contains sentences of similar length.

`python -m examples.sentiment.plain` prints the accuracy.
"""

import math

import numpy as np

from client.mx import autograd, gluon, mx
from examples.sentiment.data import WORDS, write_sentences

EPOCHS = 8
BATCH_SIZE = 25


class Classifier(gluon.HybridBlock):
    """The mean of an LSTM's states over a sentence's words, and a layer."""

    def __init__(self):
        super().__init__()
        self.embedding = gluon.nn.Embedding(WORDS, 16)
        self.encoder = gluon.rnn.LSTM(32, layout="NTC", bidirectional=True, input_size=16)
        self.output = gluon.nn.Dense(2, in_units=64)

    def hybrid_forward(self, F, words, lengths):
        states = self.encoder(self.embedding(words))
        states = F.SequenceMask(states, lengths, use_sequence_length=True, axis=1)
        return self.output(F.broadcast_div(states.sum(axis=1), lengths.reshape((-1, 1))))


class Buckets(gluon.data.Sampler):
    """Batches of sentences whose lengths are similar, in a random order."""

    def __init__(self, data, batch_size):
        self.batch_size = batch_size
        self.lengths = np.array([length for _, length, _ in data])

    def __len__(self):
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self):
        order = np.argsort(self.lengths + np.random.uniform(-2, 2, len(self.lengths)))
        for start in np.random.permutation(len(self)) * self.batch_size:
            yield order[start : start + self.batch_size].tolist()


def build_model():
    return Classifier()


def load_data():
    return gluon.data.SimpleDataset(write_sentences(3000, 1)), gluon.data.SimpleDataset(
        write_sentences(1000, 2)
    )


def pad(items):
    """Fill up sentences to the longest one of the batch."""
    sentences, lengths, labels = zip(*items)
    words = np.zeros((len(items), max(lengths)), np.int32)
    for row, sentence in zip(words, sentences):
        row[: len(sentence)] = sentence
    return mx.nd.array(words), mx.nd.array(lengths), mx.nd.array(labels)


def train(net, data):
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.005})
    loader = gluon.data.DataLoader(data, batch_sampler=Buckets(data, BATCH_SIZE), batchify_fn=pad)
    for _ in range(EPOCHS):
        for words, lengths, labels in loader:
            with autograd.record():
                losses = loss(net(words, lengths), labels)
            losses.backward()
            trainer.step(len(labels))


def evaluate(net, data):
    right = 0.0
    for words, lengths, labels in gluon.data.DataLoader(data, BATCH_SIZE, batchify_fn=pad):
        right += (net(words, lengths).argmax(axis=1) == labels).sum().asscalar()
    return {"accuracy": right / len(data)}


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
