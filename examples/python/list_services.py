#!/usr/bin/env python3
"""Lists the services of the datacenter, or with a name its instances and how they are.

    list_services.py
    list_services.py web
"""

import argparse

import agent


def services(client):
    """All service names with their tags."""
    _index, found = client.catalog.services()
    return {name: sorted(tags) for name, tags in found.items()}


def instances(client, name, passing=False):
    """The instances of a service: id, node, address, port, tags and the worst status of their checks."""
    _index, rows = client.health.service(name, passing=passing)
    return [
        {
            "id": row["Service"]["ID"],
            "node": row["Node"]["Node"],
            "address": row["Service"]["Address"] or row["Node"]["Address"],
            "port": row["Service"]["Port"],
            "tags": row["Service"]["Tags"] or [],
            "status": worst(check["Status"] for check in row["Checks"]),
        }
        for row in rows
    ]


def worst(statuses):
    """The status that counts for an instance with several checks; without any it passes."""
    return max(statuses, key=["passing", "warning", "critical"].index, default="passing")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--passing", action="store_true", help="only instances whose checks all pass")
    given = parser.parse_args()
    client = agent.client()
    if given.name is None:
        for name, tags in sorted(services(client).items()):
            print(name, ",".join(tags))
        return
    for row in instances(client, given.name, given.passing):
        print(row["status"], row["id"], f"{row['address']}:{row['port']}", "on", row["node"], ",".join(row["tags"]))


if __name__ == "__main__":
    main()
