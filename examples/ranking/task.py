"""The task of `plain.py`: the built-in loop on a dataset that draws at each access."""

import numpy as np

from client.mx import gluon, mx
from examples.ranking.data import ITEMS, USERS, load_choices


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


def load_data(data_dir):
    train, test = load_choices()
    return Triples(*train), gluon.data.ArrayDataset(*test)


def loss():
    return gluon.loss.SigmoidBCELoss()


def evaluate(net, data, context):
    users, candidates = data[:]
    items = mx.nd.array(candidates)
    # How much the held-out item is preferred to each candidate, itself included.
    scores = net(mx.nd.array(users).expand_dims(1), items[:, :1], items)
    return {"hit_rate": ((scores < 0).sum(axis=1) < 10).mean().asscalar()}
