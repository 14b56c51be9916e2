"""The LwM2M adapter and aiocoap as servers of a run, and the devices that both of them speak to."""
