#!/usr/bin/env python3
"""Deregisters an instance, and with it its checks, at the agent that it was registered at.

    deregister.py web-127.0.0.1-8080
"""

import argparse

import agent


def deregister(client, instance):
    """Deregisters by id. Deregistering at the catalog instead would not last: the agent would bring it back."""
    client.agent.service.deregister(instance)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("id", nargs="+")
    for instance in parser.parse_args().id:
        deregister(agent.client(), instance)
        print(f"{instance} deregistered")


if __name__ == "__main__":
    main()
