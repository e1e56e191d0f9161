"""Predicts ratings; sparse gradients update only the users and items of a batch.

`python -m examples.matrix_factorization.plain` prints the root of the mean squared error.
"""

from client.mx import autograd, gluon, mx
from examples.matrix_factorization.data import ITEMS, USERS, load_ratings

EPOCHS = 24
BATCH_SIZE = 200


class Factorization(gluon.HybridBlock):
    """A rating is the product of a user's and an item's factors, and a bias of each."""

    def __init__(self):
        super().__init__()
        self.users = gluon.nn.Embedding(USERS, 8, sparse_grad=True)
        self.items = gluon.nn.Embedding(ITEMS, 8, sparse_grad=True)
        self.user_bias = gluon.nn.Embedding(USERS, 1, sparse_grad=True)
        self.item_bias = gluon.nn.Embedding(ITEMS, 1, sparse_grad=True)

    def hybrid_forward(self, F, users, items):
        product = (self.users(users) * self.items(items)).sum(axis=1)
        return product + self.user_bias(users).reshape(-1) + self.item_bias(items).reshape(-1)


def build_model():
    return Factorization()


def load_data():
    train, test = load_ratings()
    return gluon.data.ArrayDataset(*train), gluon.data.ArrayDataset(*test)


def train(net, data):
    net.hybridize()
    loss = gluon.loss.L2Loss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for users, items, ratings in loader:
            with autograd.record():
                losses = loss(net(users, items), ratings)
            losses.backward()
            trainer.step(len(ratings))


def evaluate(net, data):
    total = 0.0
    for users, items, ratings in gluon.data.DataLoader(data, BATCH_SIZE):
        total += ((net(users, items) - ratings) ** 2).sum().asscalar()
    return {"rmse": (total / len(data)) ** 0.5}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
