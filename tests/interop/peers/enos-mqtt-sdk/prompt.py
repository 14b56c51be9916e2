"""The vendor's device SDK at a prompt (see prompting.py), whose namespace begins with the SDK's names, `device(...)`
that makes a client with its command handlers, and `seen`, what those handlers were called with.
"""

import logging
import sys
import threading
import time
from pathlib import Path

from enos.core.internal.Profile import Profile
from enos.core.login.DynamicActivationLogin import DynamicActivationLogin
from enos.core.message.IConnectCallback import IConnectCallback
from enos.core.MqttClient import MqttClient
from enos.message.downstream.tsl.MeasurepointGetCommand import MeasurepointGetCommand
from enos.message.downstream.tsl.MeasurepointGetReply import MeasurepointGetReply
from enos.message.downstream.tsl.MeasurepointSetCommand import MeasurepointSetCommand
from enos.message.downstream.tsl.MeasurepointSetReply import MeasurepointSetReply
from enos.message.downstream.tsl.ServiceInvocationCommand import ServiceInvocationCommand
from enos.message.downstream.tsl.ServiceInvocationReply import ServiceInvocationReply

seen = []
"""(kind, what it was called with) of every command, in order."""
go = threading.Event()
go.set()
"""While it is not set, the service `slow` does not answer."""


class Told(IConnectCallback):
    def __init__(self):
        self.connected = threading.Event()

    def on_connect(self):
        self.connected.set()

    def on_disconnect(self):
        self.connected.clear()

    def on_connect_failed(self):
        pass


def on_service(command, args):
    params = command.get_params()
    seen.append((args[2], params))
    if args[2] == "add":
        return ServiceInvocationReply.builder().add_output_data("sum", params["a"] + params["b"]).set_code(200).build()
    if args[2] == "slow":
        go.wait(60)
        return ServiceInvocationReply.builder().add_output_data("late", True).set_code(200).build()
    if args[2] == "forgetful":
        return ServiceInvocationReply.builder().add_output_data("done", 1).build()
    if args[2] == "mute":
        return None
    if args[2] == "raises":
        raise RuntimeError("no such luck")
    return ServiceInvocationReply.builder().set_message("will not").set_code(2001).build()


points = {"temp": 21.5}


def on_set(command, args):
    seen.append(("set", command.get_params()))
    points.update(command.get_params())
    return MeasurepointSetReply.builder().set_code(200).build()


def on_get(command, args):
    seen.append(("get", command.get_params()))
    reply = MeasurepointGetReply.builder()
    reply.set_measureponits({point: points[point] for point in command.get_params() if point in points})
    return reply.set_code(200).build()


def device(url, product, key, secret, ca=None):
    """A client that connects; `connected` waits for it."""
    client = MqttClient(url, product, key, secret)
    client.get_profile().set_auto_reconnect(True)
    if ca is not None:
        client.get_profile().set_ssl_context(ca, None, None)
    client.register_arrived_message_handler(ServiceInvocationCommand.get_class(), on_service)
    client.register_arrived_message_handler(MeasurepointSetCommand.get_class(), on_set)
    client.register_arrived_message_handler(MeasurepointGetCommand.get_class(), on_get)
    client.told = Told()
    client.connect(client.told)
    return client


def activated(url, product, product_secret, key, timeout=15):
    """The secret that a device is handed when it signs in with its product's."""
    login = DynamicActivationLogin(url, product, product_secret, key)
    client = MqttClient(profile=Profile.create_instance(login))
    given, told = [], threading.Event()

    def keep(secret):
        given.append(secret)
        told.set()

    client.on_device_dynamic_active = keep
    client.connect(Told())
    told.wait(timeout)
    client.close()
    return given[0] if given else None


def connected(client, timeout=15):
    return client.told.connected.wait(timeout)


def until(condition, timeout=30):
    """Whether something came true in time; the SDK tells of a lost connection only by being asked."""
    over = time.monotonic() + timeout
    while not condition() and time.monotonic() < over:
        time.sleep(0.02)
    return condition()


def asked(client, request):
    """Code and data of the hub's answer to a request."""
    response = client.publish(request)
    return response.get_code(), response.get_data()


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    from prompting import serve

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    serve(dict(globals()))
