"""A relay of MQTT 3.1.1: it sends the id of a request back with what it did."""
import asyncio
import json
import sys

import gmqtt


def connected(client, flags, code, properties):
    client.subscribe("home/relay/set")

def asked(client, topic, payload, qos, properties):
    request = json.loads(payload)
    client.publish("home/relay/done", json.dumps({"id": request["id"], "value": request["value"]}))

client = gmqtt.Client("relay")
client.on_connect, client.on_message, loop = connected, asked, asyncio.new_event_loop()
loop.run_until_complete(client.connect("127.0.0.1", *map(int, sys.argv[1:]), version=4))
loop.run_forever()
