"""The convolutional task on MNIST: its layers, and that it learns over several messages."""

from pathlib import Path

from client import model
from client.task import load_task
from client.tasks import cnn, mnist
from client.training import evaluate, train
from tests.client.given.small import how, inputs_of, put_data

MNIST = Path(__file__).parents[3] / "data" / "mnist"


def test_it_has_two_convolutions_with_batch_normalization_and_the_data_of_the_default_task() -> None:
    net = cnn.build_model()
    train_set, _ = load_task("client.tasks.cnn").load_data(MNIST)
    model.initialize(net, 0, inputs_of(train_set.examples[:2]))
    shapes = {name: parameter.shape for name, parameter in model.name_parameters(net).items()}
    assert shapes["0.weight"] == (16, 1, 3, 3)
    assert shapes["4.weight"] == (32, 16, 3, 3)
    assert shapes["1.running_mean"] == (16,)
    assert shapes["5.running_var"] == (32,)
    assert shapes["8.weight"][0] == 10
    assert cnn.load_data is mnist.load_data


def test_two_messages_with_3000_images_learn_most_digits() -> None:
    task = load_task("client.tasks.cnn")
    train_set, test_set = task.load_data(MNIST)
    data = put_data(train_set.examples[:3000], train_set.labels[:3000])
    tested = put_data(test_set.examples[:1000], test_set.labels[:1000])
    net = task.build_model()
    model.initialize(net, 0, inputs_of(train_set.examples[:2]))
    net.hybridize(static_alloc=True, static_shape=True)
    parameters = model.name_parameters(net)
    context = how(1, 100, learning_rate=0.05, momentum=0.9)
    arrays = model.read(parameters)
    for message in (1, 2):
        model.write(parameters, arrays)
        train(net, task, data, context, [0, message, 0])
        arrays = model.read(parameters)
        model.write(parameters, arrays)
        measured = evaluate(net, task, tested, context)
    assert measured["num-examples"] == 1000
    assert measured["accuracy"] > 0.9
