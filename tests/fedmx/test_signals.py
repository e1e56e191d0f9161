"""How signals end a program: real processes, their exit codes and what they still clean up."""

import signal

import pytest

from fedmx import signals
from tests.bounds import HANG_S
from tests.fedmx.processes import run, signalled, start


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_the_program_with_its_code_and_no_traceback(number: int, code: int) -> None:
    body = """
        log.configure("INFO", "text")
        try:
            show("ready")
            threading.Event().wait(60)
        finally:
            show("cleaned")
    """
    status, out, err = signalled(body, number)
    assert (status, out) == (code, "cleaned\n")
    assert err.endswith(f"INFO    stopped by a signal exit_code={code}\n")
    assert "Traceback" not in err


def test_a_closed_terminal_does_not_stop_what_nohup_started() -> None:
    process = start("show('ready'); sys.stdin.read(); show('done')", hangup="signal.SIG_IGN")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate("", timeout=HANG_S) == ("done\n", "")
    assert process.returncode == 0


def test_no_handler_of_failures_swallows_a_signal() -> None:
    body = """
        try:
            show("ready")
            time.sleep(60)
        except Exception:
            show("swallowed")
    """
    assert signalled(body, signal.SIGTERM)[:2] == (143, "")


def test_a_second_signal_does_not_interrupt_the_clean_end() -> None:
    body = """
        try:
            show("ready")
            time.sleep(60)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            show("cleaned")
    """
    assert signalled(body, signal.SIGINT)[:2] == (130, "cleaned\n")


def test_a_signal_during_the_handling_of_an_error_leads_to_the_signals_code() -> None:
    body = """
        try:
            raise errors.TrainingFailedError("lost")
        finally:
            show("ready")
            time.sleep(60)
    """
    status, _, err = signalled(body, signal.SIGTERM)
    assert (status, "Traceback" in err) == (143, False)


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    body = """
        class Array:
            def __del__(self):
                signal.raise_signal(signal.SIGTERM)
                show("not reached")
        log.configure("INFO", "text")
        try:
            Array()
            time.sleep(600)
        finally:
            show("cleaned")
    """
    status, out, err = run(body)
    assert (status, out) == (143, "cleaned\n"), "the fallback cleans nothing"
    assert "Exception ignored" not in err


def test_a_signal_after_the_end_changes_nothing() -> None:
    body = """
        class Late(logging.NullHandler):
            def flush(self):
                signal.raise_signal(signal.SIGTERM)
        log.logger.addHandler(Late())
        raise errors.TooFewNodesError("one came")
    """
    assert run(body) == (3, "", "")


def test_a_signal_ends_a_program_whose_main_thread_is_inside_a_library() -> None:
    body = """
        import ctypes
        log.configure("INFO", "text")
        library = ctypes.CDLL(None)
        library.pthread_mutex_lock(mutex := ctypes.create_string_buffer(64))
        show("ready")
        # Signals do not interrupt this call, like one into MXNet's engine.
        library.pthread_mutex_lock(mutex)
    """
    status, _, err = signalled(body, signal.SIGTERM)
    assert status == 143
    assert "stopped by a signal" in err
    assert signals._END_AFTER_S < 5, "the documented limit"


def test_a_signal_to_another_thread_wakes_the_main_thread() -> None:
    body = """
        def receive_signal():
            time.sleep(0.2)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        threading.Thread(target=receive_signal, daemon=True).start()
        show("ready")
        lock = threading.Lock()
        lock.acquire()
        try:
            lock.acquire()
        finally:
            show("cleaned")
    """
    status, out, err = run(body)
    assert (status, out, err) == (130, "ready\ncleaned\n", ""), "the fallback cleans nothing"


def test_handlers_that_a_task_replaced_are_restored_and_named() -> None:
    body = """
        from fedmx import signals
        show(signals.restore_handlers())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        show([signal.Signals(number).name for number in signals.restore_handlers()])
        signal.raise_signal(signal.SIGTERM)
        show("not reached")
    """
    assert run(body)[:2] == (143, "[]\n['SIGTERM']\n")


def test_handlers_that_were_never_installed_are_not_restored() -> None:
    assert signals.restore_handlers() == []
