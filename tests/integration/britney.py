"""Publishes bodies as migration software does: Debian's python3-amqplib, protocol header AMQP 01 01 09 01.

/usr/bin/python3 britney.py HOST:PORT USER VHOST QUEUE < lines; the password is the first line, then one
body each in hex. It declares no queue and waits for no confirm.
"""

import sys

import amqplib.client_0_8 as amqp


def main():
    host, user, vhost, queue = sys.argv[1:]
    password, *bodies = sys.stdin.read().split()
    connection = amqp.Connection(host, userid=user, password=password, virtual_host=vhost)
    channel = connection.channel()
    for body in bodies:
        message = amqp.Message(bytes.fromhex(body).decode(), delivery_mode=2)
        channel.basic_publish(message, routing_key=queue)
    channel.close()
    connection.close()


main()
