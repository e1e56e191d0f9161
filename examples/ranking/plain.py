"""Ranks items by Bayesian personalized ranking: chosen items against others, drawn at every access.

`python -m examples.ranking.plain` prints how often the held-out item is among the first ten of 51.
"""

import numpy as np

from client.mx import autograd, gluon, mx
from examples.ranking.data import ITEMS, USERS, load_choices

EPOCHS = 16
BATCH_SIZE = 100


class Ranking(gluon.HybridBlock):
    """The score of one item over another for a user."""

    def __init__(self):
        super().__init__()
        self.users = gluon.nn.Embedding(USERS, 8)
        self.items = gluon.nn.Embedding(ITEMS, 8)

    def hybrid_forward(self, F, users, items, others):
        difference = F.broadcast_sub(self.items(items), self.items(others))
        return F.broadcast_mul(self.users(users), difference).sum(axis=-1)


class Triples(gluon.data.Dataset):
    """Pairs of a user and an item, and an item that the user did not choose."""

    def __init__(self, users, items):
        self.users, self.items = users, items
        self.known = set(zip(users.tolist(), items.tolist()))

    def __len__(self):
        return len(self.users)

    def __getitem__(self, index):
        user, other = self.users[index], np.random.randint(ITEMS)
        while (user, other) in self.known:
            other = np.random.randint(ITEMS)
        return user, self.items[index], other, np.float32(1)


def build_model():
    return Ranking()


def load_data():
    train, test = load_choices()
    return Triples(*train), gluon.data.ArrayDataset(*test)


def train(net, data):
    net.hybridize()
    loss = gluon.loss.SigmoidBCELoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for users, items, others, ones in loader:
            with autograd.record():
                losses = loss(net(users, items, others), ones)
            losses.backward()
            trainer.step(len(users))


def evaluate(net, data):
    users, candidates = data[:]
    items = mx.nd.array(candidates)
    # How much the held-out item is preferred to each candidate, itself included.
    scores = net(mx.nd.array(users).expand_dims(1), items[:, :1], items)
    return {"hit_rate": ((scores < 0).sum(axis=1) < 10).mean().asscalar()}


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
