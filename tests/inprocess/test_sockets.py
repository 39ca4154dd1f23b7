"""WebSocket connections are the gateway's: in process an app is told so, and nothing leaves."""

import pytest
from websockets.exceptions import InvalidURI

import headworks
from headworks.simulator import SimulatorConfig, running
from tests.clients.ground import OPEN_KEY, write_configuration


def test_a_connection_is_refused_before_it_is_tried(tmp_path):
    """The official client refuses the address by itself, and shows a word that tells where to look."""
    with running(SimulatorConfig()) as practice:
        with headworks.open(write_configuration(tmp_path, practice.base_url)) as hw:
            client = hw.openai(api_key=OPEN_KEY)
            with pytest.raises(InvalidURI, match="use-a-gateway"):
                client.realtime.connect(model="gpt-realtime").enter()
            with pytest.raises(InvalidURI, match="use-a-gateway"):
                client.with_options(max_retries=0).responses.connect().enter()
            with pytest.raises(TypeError, match="websocket_base_url"):
                hw.openai(websocket_base_url="wss://elsewhere.invalid")
        assert practice.attempts() == []
