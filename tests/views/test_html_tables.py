"""What notebooks show of views, events and streams; nothing of it acts."""

import pytest
from hostile_lines import ALL, LONG
from picture_runs import NightlyRun
from sample_events import line

import rxflow
from rxflow import FlowRunView
from rxflow.testing import FakePrefect3, VirtualTime

HOSTILE = {name: text for name, text in ALL.items() if name not in LONG and text}


def test_a_run_is_a_table() -> None:
    """It has the run's states, its times, and its task runs by state."""
    story = NightlyRun().to_end()
    view = FlowRunView.from_flow_run_id(story.run_id, True, client=story.server.client())
    html = view._repr_html_()
    assert "Scheduled &gt; Running &gt; Failed" in html
    assert "1/3 states failed." in html
    assert "8.0 s" in html
    assert "3: 2 completed, 1 failed" in html


def test_of_many_states_the_last_are_shown() -> None:
    """What is left out is marked."""
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(state="RUNNING")
    for number in range(20):
        server.set_state(run_id, "RUNNING", f"Step {number}")
    html = FlowRunView.from_flow_run_id(run_id, client=server.client())._repr_html_()
    assert "… &gt; Step 8 &gt;" in html
    assert "Step 7" not in html


def test_a_task_run_is_a_table() -> None:
    """It has the states that were read."""
    story = NightlyRun().to_end()
    view = FlowRunView.from_flow_run_id(story.run_id, client=story.server.client())
    html = view.get_task_run(task_run_id=story.fetches[0])._repr_html_()
    assert "Running &gt; AwaitingRetry &gt; Retrying &gt; Completed" in html
    assert "6.0 s" in html


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_of_a_server_are_data(name: str) -> None:
    """No name and no message opens an element."""
    text = HOSTILE[name]
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(name=text, tags=[text])
    server.set_state(run_id, "FAILED", text, message=text)
    task_run_id = server.add_task_run(run_id, name=text)
    client = server.client()
    view = FlowRunView.from_flow_run_id(run_id, client=client)
    task_run = view.get_task_run(task_run_id=task_run_id)
    for html in (view._repr_html_(), task_run._repr_html_(), line(1, text)._repr_html_()):
        assert not any(tag in html for tag in ("<script", "<img", "<svg", "<iframe", "<style"))


def test_a_stream_says_what_it_is_and_requests_nothing() -> None:
    """It is shown with its run, and how to use it."""
    server = FakePrefect3()
    run_id = server.add_run()
    stream = rxflow.watch_flow_run(run_id, client=server.client())
    html = stream._repr_html_()
    assert f"&lt;FlowRunStream of {run_id}" in html
    assert "for item in stream" in html
    assert server.requests == []
