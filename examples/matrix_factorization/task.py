"""The task of `plain.py`: the built-in loop, with a trainer that keeps sparse updates sparse."""

from client.mx import gluon
from examples.matrix_factorization.data import ITEMS, USERS, load_ratings


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


def load_data(data_dir):
    return [((users, items), ratings) for users, items, ratings in load_ratings()]


def loss():
    return gluon.loss.L2Loss()


def metrics(outputs, ratings):
    return {"squared_error": (outputs - ratings) ** 2}


def trainer(net, context):
    return gluon.Trainer(net.collect_params(), "adam", {"learning_rate": context.learning_rate})
