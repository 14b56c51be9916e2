"""A thermometer of MQTT 5: it answers a request where the request says, with its correlation."""
import asyncio
import sys

import gmqtt

STATUS = "devices/thermometer/status"

def connected(client, flags, code, properties):
    client.subscribe("devices/thermometer/request")
    client.publish(STATUS, "online", qos=1, retain=True)

def asked(client, topic, payload, qos, request):
    where, which = request["response_topic"][0], request["correlation_data"][0]
    client.publish(where, "21.5", correlation_data=which, content_type="text/plain")

client = gmqtt.Client("thermometer", will_message=gmqtt.Message(STATUS, "offline", qos=1, retain=True))
client.on_connect, client.on_message, loop = connected, asked, asyncio.new_event_loop()
loop.run_until_complete(client.connect("127.0.0.1", *map(int, sys.argv[1:])))
loop.run_forever()
