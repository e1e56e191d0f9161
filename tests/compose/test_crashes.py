"""What dies in a stack comes back by itself, and the run ends with the model it would have had."""

import subprocess

import pytest

from tests.compose.stack import Container, Stack

pytestmark = pytest.mark.compose

SETTINGS = {"NUM_ROUNDS": 6, "LOCAL_EPOCHS": 1, "MIN_CLIENTS": 2}


@pytest.fixture(scope="module")
def undisturbed(shared_stack: Stack) -> str:
    """The digest of the model that nothing disturbed."""
    up = shared_stack.up("--scale", "client=2", **SETTINGS)
    assert up.returncode == 0, up.stdout
    return str(shared_stack.read_run()["model_sha256"])


def kill_program(container: Container) -> None:
    """Kill the program itself from the host, as the kernel would; the engine has no part in it."""
    [program] = subprocess.run(
        ["pgrep", "--parent", str(container.process_id)], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["kill", "-KILL", program], check=True)


@pytest.mark.parametrize("service", ["server", "client"])
def test_a_program_killed_in_mid_round_is_restarted_and_the_run_completes(
    stack: Stack, undisturbed: str, service: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server")
        kill_program(stack.containers(service)[0])
        assert up.wait(90) == 0
    run = stack.read_run()
    assert (run["status"], run["model_sha256"]) == ("finished", undisturbed)
    assert [line["round"] for line in stack.read_history()] == [1, 2, 3, 4, 5, 6]
    assert len(run["resumed"]) == (1 if service == "server" else 0)
    assert {container.exit_code for container in stack.containers()} == {0}


def test_a_client_cut_off_from_the_network_for_a_while_takes_part_again(
    stack: Stack, undisturbed: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server")
        container, network = stack.containers("client")[0], f"{stack.name}_federation"
        subprocess.run(["docker", "network", "disconnect", network, container.id], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(5)  # the others wait for it
        subprocess.run(["docker", "network", "connect", network, container.id], check=True)
        assert up.wait(90) == 0
    assert stack.read_run()["model_sha256"] == undisturbed


def test_a_server_that_the_engine_was_told_to_kill_goes_on_with_the_next_up(
    stack: Stack, undisturbed: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server")
        kill(stack.containers("server"))
        assert up.wait(60) != 0
    stack.run("down")
    go_on(stack, undisturbed)


def test_a_stack_whose_machine_lost_its_power_goes_on_with_the_next_up(
    stack: Stack, undisturbed: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server")
        kill(stack.containers())
        assert up.wait(60) != 0
    go_on(stack, undisturbed)


def kill(containers: list[Container]) -> None:
    """Have the engine kill all that run, which it does not restart then."""
    ids = [container.id for container in containers if container.state == "running"]
    subprocess.run(["docker", "kill", *ids], check=True, capture_output=True)


def go_on(stack: Stack, undisturbed: str) -> None:
    again = stack.up("--scale", "client=2", **SETTINGS)
    assert again.returncode == 0, again.stdout
    assert "run goes on" in again.stdout
    run = stack.read_run()
    assert (run["model_sha256"], len(run["resumed"])) == (undisturbed, 1)
