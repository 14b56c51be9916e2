"""One connection to a broker, by gmqtt: acknowledged by hand, never made again by itself, nothing kept to be resent.

gmqtt would answer QoS 1 at once or after a task per message, would connect again on its own, and would then send
unacknowledged messages again, whatever has become of their calls. Here each connection is a client of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTCommands, MQTTv50

from adapters.mqtt.broker import packet

NEVER_AGAIN = -2  # gmqtt counts from 0 and takes -1 for "always"
WHY = {
    130: "malformed packet", 135: "not authorized", 139: "it shuts down", 141: "keep alive timeout",
    142: "another client came under this client_id", 147: "more messages than agreed", 149: "packet too large",
    151: "quota exceeded", 152: "administrative action",
}  # fmt: skip
"""What brokers say when they end a connection (MQTT 5), in words."""

log = logging.getLogger("hub.adapter.mqtt-broker")
# What matters of a connection is told by the hub itself, once.
logging.getLogger("gmqtt").setLevel(logging.ERROR)


class PacketTooLarge(Exception):
    """The broker said that it takes no such large packets; the text is its limit."""


class Message:
    """A message of the broker's. `acknowledge` is called once the hub holds what it says; harmless with QoS 0."""

    __slots__ = ("_client", "_id", "payload", "properties", "qos", "retained", "topic")

    def __init__(
        self, client: Client, topic: str, payload: bytes, qos: int, properties: Mapping[str, Any], id: int | None
    ) -> None:
        self._client = client
        self._id = id
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.properties = properties
        self.retained = bool(properties.get("retain"))

    @property
    def gone(self) -> bool:
        """Whether it can be acknowledged no more: the connection that it came by is over."""
        return self._id is not None and not self._client.open

    def acknowledge(self) -> None:
        """Tell the broker, unless the connection that the message came by is over."""
        if self._id is not None:
            self._client.acknowledge(self._id)
            self._id = None

    def one(self, name: str) -> Any:
        """The value of a property that stands there once; None without it."""
        values = self.properties.get(name)
        return values[0] if isinstance(values, list) and values else None

    def said(self, name: str) -> str | None:
        """The value of a user property; None without it."""
        for key, value in self.properties.get("user_property", ()):
            if key == name:
                return str(value)
        return None


class Client(gmqtt.Client):  # type: ignore[misc]
    """gmqtt's client without its memory. `hear` gets each message, `lost` is called when the connection is over,
    `let_in` when it is made, before any message: it tells whether the broker still had the session."""

    def __init__(
        self, client_id: str, *, clean: bool, hear: Callable[[Message], None], lost: Callable[[str], None],
        granted: Callable[[int, tuple[int, ...]], None], let_in: Callable[[bool], None] = lambda resumed: None,
        will: gmqtt.Message | None = None, **properties: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            client_id, clean_session=clean, optimistic_acknowledgement=False, will_message=will, logger=_Quiet(),
            **properties,
        )
        self._hear = hear
        self._lost = lost
        self._granted = granted
        self._admitted = let_in
        self.written = 0
        self.set_config({"reconnect_retries": NEVER_AGAIN})
        self.on_message = Client._most_once
        self.on_disconnect = Client._over
        self.on_subscribe = Client._subscribed
        self.on_unsubscribe = Client._left
        self.on_connect = Client._let_in
        self._package_handler._handle_qos_1_publish_packet = self._least_once

    # -- out ------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether the broker has let it in and it is not over."""
        return self._connection is not None and bool(self.is_connected)

    @property
    def backlog(self) -> int:
        """Bytes that the broker has not taken yet."""
        transport = self._transport()
        return 0 if transport is None else int(transport.get_write_buffer_size())

    @property
    def largest(self) -> int | None:
        """The largest packet that the broker takes, if it said so."""
        values = self._package_handler._connack_properties.get("maximum_packet_size")
        return int(values[0]) if values else None

    def send(self, topic: str, payload: bytes, qos: int, retain: bool, properties: Mapping[str, Any]) -> None:
        """Publish. Where no packet id is free for QoS 1, the message goes out with QoS 0. Raises PacketTooLarge, and
        ValueError for what is no packet."""
        five = self._connection_state.protocol_version == MQTTv50
        data = packet.publish(topic, payload, properties if five else None)
        if self.largest is not None and len(data) + (2 if qos else 0) > self.largest:
            raise PacketTooLarge(f"the broker takes at most {self.largest} bytes in a packet")
        if qos == 0 and not retain:
            self._connection._protocol.write_data(data)
            self.written += len(data)
            return
        try:
            self.publish(topic, payload, qos=qos, retain=retain, **properties)
        except OverflowError:
            self.publish(topic, payload, qos=0, retain=retain, **properties)

    def listen(self, wanted: Sequence[tuple[str, int, bool]]) -> int:
        """Listen to filters, each with its QoS and whether what this client says is left out; the packet's id."""
        made = [gmqtt.Subscription(topic, qos=qos, no_local=others) for topic, qos, others in wanted]
        return int(self.subscribe(made))

    def leave(self, topics: Sequence[str]) -> int:
        """Listen to filters no more; the packet's id."""
        self._remove_subscriptions(topics)
        # gmqtt counts the letters of a text, and the bytes of bytes.
        return int(self._connection.unsubscribe([topic.encode() for topic in topics]))

    def acknowledge(self, id: int) -> None:
        """Acknowledge a message with QoS 1."""
        if self.open:
            self._send_command_with_mid(MQTTCommands.PUBACK, id, False)

    def pause(self, paused: bool) -> None:
        """Read nothing more, or go on."""
        transport = self._transport()
        if transport is None or transport.is_closing():
            return
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def abort(self) -> None:
        """Let go of the connection and of all that the broker has not taken."""
        transport = self._transport()
        if transport is not None:
            transport.abort()

    def _transport(self) -> Any:
        return None if self._connection is None else self._connection._transport

    # -- in -------------------------------------------------------------------------------------

    def _most_once(self, topic: str, payload: bytes, qos: int, properties: Mapping[str, Any]) -> None:
        self._heard(Message(self, topic, bytes(payload), qos, properties, None))

    def _least_once(self, id: int, payload: bytes, topic: str, properties: Mapping[str, Any]) -> None:
        self._heard(Message(self, topic, bytes(payload), 1, properties, id))

    def _heard(self, message: Message) -> None:
        try:
            if isinstance(message.topic, str):  # gmqtt hands over what is no text
                self._hear(message)
            else:
                message.acknowledge()
        except Exception:
            # Whatever a device sends must not end the reading of all others.
            log.exception("a message could not be dealt with")
            message.acknowledge()

    def _over(self, data: Any, exc: Exception | None = None) -> None:
        if self._package_handler.has_error:
            self._lost(str(self._package_handler._error))  # it was not let in
            return
        reason = data[0] if isinstance(data, bytes | bytearray) and data else 0
        why = WHY.get(reason, str(reason))
        self._lost(f"the broker ended the connection ({why})" if reason else "the connection broke")

    def _subscribed(self, id: int, granted: tuple[int, ...], properties: Mapping[str, Any]) -> None:
        self._granted(id, tuple(granted))

    def _left(self, id: int, answers: tuple[int, ...]) -> None:
        self._granted(id, tuple(answers))

    def _let_in(self, session_present: int, reason: int, properties: Mapping[str, Any]) -> None:
        self._admitted(bool(session_present))


class _Quiet:
    """A logger for gmqtt, which tells of each packet and of each loss as an error."""

    def debug(self, *args: Any, **more: Any) -> None:
        """Say nothing."""

    info = debug

    def warning(self, text: str, *args: Any, **more: Any) -> None:
        """What may be worth knowing, for those who look."""
        log.debug(text, *args)

    error = critical = exception = warning
