#!/usr/bin/env python3
"""Registers one instance of an HTTP service at the agent, with a check that the agent runs itself.

    register.py web 8080 --address 127.0.0.1 --tag v1 --interval 1s
"""

import argparse

import agent


def register(client, name, port, address="127.0.0.1", tags=(), path="/", interval="5s", timeout="2s", instance=None):
    """Registers an instance and returns its id; unlike its name, the id is unique on the agent."""
    import consul

    instance = instance or f"{name}-{address}-{port}"
    check = consul.Check.http(f"http://{address}:{port}{path}", interval=interval, timeout=timeout)
    client.agent.service.register(
        name, service_id=instance, address=address, port=port, tags=list(tags), check=check
    )
    return instance


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--address", default="127.0.0.1", help="where callers, and the agent's check, find it")
    parser.add_argument("--tag", action="append", default=[], help="may be given more than once")
    parser.add_argument("--path", default="/", help="what the check asks for")
    parser.add_argument("--interval", default="5s")
    parser.add_argument("--timeout", default="2s")
    parser.add_argument("--id", help="default: <name>-<address>-<port>")
    given = parser.parse_args()
    print(
        register(
            agent.client(), given.name, given.port, given.address, given.tag, given.path, given.interval,
            given.timeout, given.id,
        )
    )


if __name__ == "__main__":
    main()
